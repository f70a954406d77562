import { KiB } from '../../../protocol/base/bytes.ts'
import { formatElf, memoryAddress } from './elf.ts'
import type { SyscallArch } from './syscalls.ts'

/**
 * The first thing that runs in the sandbox of a native program: 100 bytes of machine code that say on descriptor 3
 * that the sandbox stands, wait there for what to run, and become it. So a sandbox can be started before anybody knows
 * with which environment, needs no shell for that, and secrets go through nothing but a socket between two processes.
 *
 * What comes is an image of memory at a fixed address (`encodeLaunch`): three pointers, for `execve`, and what they
 * point to.
 *
 * @returns a static ELF executable
 */
export function formatLauncher(arch: SyscallArch): Buffer {
  const code = Buffer.from(machineCode[arch].map((line) => line.replaceAll(/ *;.*| /g, '')).join(''), 'hex')
  return formatElf(arch, code, imageBytesMax)
}

/** What to run: `argv[0]` is the path. Strings without NUL. */
export interface Launch {
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/**
 * The launcher's memory, ready for `execve`.
 *
 * @returns undefined where Linux would not take it: a string of more than 128 KiB, 512 KiB in all, or a NUL.
 */
export function encodeLaunch({ args, env }: Launch): Buffer | undefined {
  const strings = [...args, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)]
  const texts = strings.map((text) => Buffer.from(`${text}\0`))
  const pointersBytes = 8 * (3 + args.length + 1 + (texts.length - args.length) + 1)
  const bytes = texts.reduce((sum, text) => sum + text.length, pointersBytes)
  if (bytes > imageBytesMax || texts.some((text) => text.length > stringBytesMax)) return undefined
  if (strings.some((text) => text.includes('\0'))) return undefined
  const image = Buffer.alloc(bytes)
  let at = 0
  const point = (address: number) => {
    at = image.writeBigUInt64LE(BigInt(address), at)
  }
  const argumentsAt = memoryAddress + 24
  let textAt = memoryAddress + pointersBytes
  point(textAt)
  point(argumentsAt)
  point(argumentsAt + 8 * (args.length + 1))
  texts.forEach((text, index) => {
    if (index === args.length) point(0)
    point(textAt)
    text.copy(image, textAt - memoryAddress)
    textAt += text.length
  })
  if (texts.length === args.length) point(0)
  point(0)
  return image
}

const imageBytesMax = 512 * KiB
/** MAX_ARG_STRLEN. */
const stringBytesMax = 128 * KiB

/** As an assembler made it of what stands beside it. */
const machineCode: Readonly<Record<SyscallArch, readonly string[]>> = {
  x64: [
    'bd 00000010 ; mov ebp, 0x10000000  (the image)',
    'bf 03000000 ; mov edi, 3',
    '89ee        ; mov esi, ebp',
    'ba 01000000 ; mov edx, 1',
    'b8 01000000 ; mov eax, 1           (write: the sandbox stands)',
    '0f05        ; syscall',
    '89eb        ; mov ebx, ebp',
    'bf 03000000 ; next: mov edi, 3',
    '89de        ; mov esi, ebx',
    'ba 00000810 ; mov edx, 0x10080000  (its end)',
    '29da        ; sub edx, ebx',
    '31c0        ; xor eax, eax         (read)',
    '0f05        ; syscall',
    '85c0        ; test eax, eax',
    '78 25       ; js fail',
    '74 04       ; je run',
    '01c3        ; add ebx, eax',
    'eb e4       ; jmp next',
    'bf 03000000 ; run: mov edi, 3',
    'b8 03000000 ; mov eax, 3           (close)',
    '0f05        ; syscall',
    '48 8b7d00   ; mov rdi, [rbp]',
    '48 8b7508   ; mov rsi, [rbp+8]',
    '48 8b5510   ; mov rdx, [rbp+16]',
    'b8 3b000000 ; mov eax, 59          (execve)',
    '0f05        ; syscall',
    'bf 7f000000 ; fail: mov edi, 127',
    'b8 e7000000 ; mov eax, 231         (exit_group)',
    '0f05        ; syscall',
  ],
  arm64: [
    '1300a2d2 ; movz x19, 0x1000, lsl 16  (the image)',
    '600080d2 ; mov x0, 3',
    'e10313aa ; mov x1, x19',
    '220080d2 ; mov x2, 1',
    '080880d2 ; mov x8, 64                (write: the sandbox stands)',
    '010000d4 ; svc 0',
    'f40313aa ; mov x20, x19',
    '1501a2d2 ; movz x21, 0x1008, lsl 16  (its end)',
    '600080d2 ; next: mov x0, 3',
    'e10314aa ; mov x1, x20',
    'a20214cb ; sub x2, x21, x20',
    'e80780d2 ; mov x8, 63                (read)',
    '010000d4 ; svc 0',
    '1f0000f1 ; cmp x0, 0',
    '8b010054 ; b.lt fail',
    '60000054 ; b.eq run',
    '9402008b ; add x20, x20, x0',
    'f7ffff17 ; b next',
    '600080d2 ; run: mov x0, 3',
    '280780d2 ; mov x8, 57                (close)',
    '010000d4 ; svc 0',
    '600240f9 ; ldr x0, [x19]',
    '610640f9 ; ldr x1, [x19, 8]',
    '620a40f9 ; ldr x2, [x19, 16]',
    'a81b80d2 ; mov x8, 221               (execve)',
    '010000d4 ; svc 0',
    'e00f80d2 ; fail: mov x0, 127',
    'c80b80d2 ; mov x8, 94                (exit_group)',
    '010000d4 ; svc 0',
  ],
}
