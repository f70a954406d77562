import { KiB } from '../../../protocol/base/bytes.ts'
import type { SyscallArch } from './syscalls.ts'

/** Where the memory of a binary of `formatElf` begins. */
export const memoryAddress = 0x1000_0000

/**
 * A static ELF executable of a few instructions, which need no library and no linker.
 *
 * @param code - Begins at its first instruction, and is independent of where it is.
 * @param memoryBytes - At `memoryAddress`, zero at first.
 */
export function formatElf(arch: SyscallArch, code: Buffer, memoryBytes: number): Buffer {
  const header = Buffer.alloc(sizes.header)
  Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]).copy(header)
  header.writeUInt16LE(2, 16) // ET_EXEC: every address is fixed.
  header.writeUInt16LE(machines[arch], 18)
  header.writeUInt32LE(1, 20)
  header.writeBigUInt64LE(BigInt(codeAddress + codeOffset), 24)
  header.writeBigUInt64LE(BigInt(sizes.header), 32)
  header.writeUInt16LE(sizes.header, 52)
  header.writeUInt16LE(sizes.segment, 54)
  header.writeUInt16LE(3, 56)
  const fileBytes = codeOffset + code.length
  return Buffer.concat([
    header,
    segment({ type: loaded, flags: 5, address: codeAddress, fileBytes, memoryBytes: fileBytes }),
    segment({ type: loaded, flags: 6, address: memoryAddress, fileBytes: 0, memoryBytes }),
    // A stack that cannot be executed.
    segment({ type: stack, flags: 6, address: 0, fileBytes: 0, memoryBytes: 0 }),
    Buffer.alloc(codeOffset - sizes.header - 3 * sizes.segment),
    code,
  ])
}

const sizes = { header: 64, segment: 56 } as const
const codeAddress = 0x40_0000
const codeOffset = 256
/** EM_X86_64, EM_AARCH64. */
const machines: Readonly<Record<SyscallArch, number>> = { x64: 62, arm64: 183 }
/** PT_LOAD, PT_GNU_STACK. */
const [loaded, stack] = [1, 0x6474e551]

interface Segment {
  readonly type: number
  /** 4 read, 2 write, 1 execute. */
  readonly flags: number
  readonly address: number
  readonly fileBytes: number
  readonly memoryBytes: number
}

/** `Elf64_Phdr`; each begins at the start of the file, or has nothing in it. */
function segment({ type, flags, address, fileBytes, memoryBytes }: Segment): Buffer {
  const bytes = Buffer.alloc(sizes.segment)
  bytes.writeUInt32LE(type, 0)
  bytes.writeUInt32LE(flags, 4)
  bytes.writeBigUInt64LE(BigInt(address), 16)
  bytes.writeBigUInt64LE(BigInt(address), 24)
  bytes.writeBigUInt64LE(BigInt(fileBytes), 32)
  bytes.writeBigUInt64LE(BigInt(memoryBytes), 40)
  bytes.writeBigUInt64LE(BigInt(64 * KiB), 48)
  return bytes
}
