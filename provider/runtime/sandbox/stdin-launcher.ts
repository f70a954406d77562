import { formatElf } from './elf.ts'
import { imageBytesMax } from './launch-image.ts'
import type { SyscallArch } from './syscalls.ts'

/**
 * The launcher for walls that let nothing in but standard input and output (`launch-gvisor.ts`): it says on the one that
 * the sandbox stands, and reads what to run from the other, where the program's own input follows. There are no doors.
 *
 * @returns a static ELF executable
 */
export function formatStdinLauncher(arch: SyscallArch): Buffer {
  const code = Buffer.from(machineCode[arch].map((line) => line.replaceAll(/ *;.*| /g, '')).join(''), 'hex')
  return formatElf(arch, code, imageBytesMax)
}

/** The number of bytes that follow, four of them, and the image. */
export function frameLaunch(image: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(image.length)
  return Buffer.concat([length, image])
}

/** As an assembler made it of what stands beside it. */
const machineCode: Readonly<Record<SyscallArch, readonly string[]>> = {
  x64: [
    'bd00000010     ; mov ebp, 0x10000000  (the image)',
    'bf01000000     ; mov edi, 1',
    '89ee           ; mov esi, ebp',
    'ba01000000     ; mov edx, 1',
    'b801000000     ; mov eax, 1           (write: the sandbox stands)',
    '0f05           ; syscall',
    '41bc04000000   ; mov r12d, 4',
    'e831000000     ; call fill',
    '448b6500       ; mov r12d, [rbp]',
    '4181fc00000800 ; cmp r12d, 0x80000    (its bytes)',
    '7718           ; ja fail',
    'e81f000000     ; call fill',
    '488b7d00       ; mov rdi, [rbp]',
    '488b7508       ; mov rsi, [rbp+8]',
    '488b5510       ; mov rdx, [rbp+16]',
    'b83b000000     ; mov eax, 59          (execve)',
    '0f05           ; syscall',
    'bf7f000000     ; fail: mov edi, 127',
    'b8e7000000     ; mov eax, 231         (exit_group)',
    '0f05           ; syscall',
    '89eb           ; fill: mov ebx, ebp',
    '31ff           ; more: xor edi, edi',
    '89de           ; mov esi, ebx',
    '428d542500     ; lea edx, [rbp+r12]',
    '29da           ; sub edx, ebx',
    '740c           ; je full',
    '31c0           ; xor eax, eax         (read)',
    '0f05           ; syscall',
    '85c0           ; test eax, eax',
    '7edd           ; jle fail',
    '01c3           ; add ebx, eax',
    'ebe7           ; jmp more',
    'c3             ; full: ret',
  ],
  arm64: [
    '1300a2d2 ; movz x19, 0x1000, lsl 16  (the image)',
    '200080d2 ; mov x0, 1',
    'e10313aa ; mov x1, x19',
    '220080d2 ; mov x2, 1',
    '080880d2 ; mov x8, 64                (write: the sandbox stands)',
    '010000d4 ; svc 0',
    '940080d2 ; mov x20, 4',
    '0d000094 ; bl fill',
    '740240b9 ; ldr w20, [x19]',
    '9f0242f1 ; cmp x20, 0x80, lsl 12     (its bytes)',
    'e8000054 ; b.hi fail',
    '09000094 ; bl fill',
    '600240f9 ; ldr x0, [x19]',
    '610640f9 ; ldr x1, [x19, 8]',
    '620a40f9 ; ldr x2, [x19, 16]',
    'a81b80d2 ; mov x8, 221               (execve)',
    '010000d4 ; svc 0',
    'e00f80d2 ; fail: mov x0, 127',
    'c80b80d2 ; mov x8, 94                (exit_group)',
    '010000d4 ; svc 0',
    'f50313aa ; fill: mov x21, x19',
    '000080d2 ; more: mov x0, 0',
    'e10315aa ; mov x1, x21',
    '6202148b ; add x2, x19, x20',
    '420015eb ; subs x2, x2, x21',
    'e0000054 ; b.eq full',
    'e80780d2 ; mov x8, 63                (read)',
    '010000d4 ; svc 0',
    '1f0000f1 ; cmp x0, 0',
    '8dfeff54 ; b.le fail',
    'b502008b ; add x21, x21, x0',
    'f6ffff17 ; b more',
    'c0035fd6 ; full: ret',
  ],
}
