import { formatElf, memoryAddress } from '../sandbox/elf.ts'
import type { SyscallArch } from '../sandbox/syscalls.ts'

/** A system call that must fail in a certain way. */
export interface ForbiddenCall {
  /** What succeeded, where it does: `could …`. */
  readonly what: string
  readonly number: Readonly<Record<SyscallArch, number>>
  /** The first three; the others are whatever they are. */
  readonly args: readonly [number, number, number]
  readonly errno: number
}

const [EPERM, ENOSYS, EAFNOSUPPORT] = [1, 38, 97]
const newUser = 0x1000_0000
const both = (number: number) => ({ x64: number, arm64: number })

/** What Node offers no way to try. None of them does harm where it succeeds. */
export const forbiddenCalls: readonly ForbiddenCall[] = [
  { what: 'trace', number: { x64: 101, arm64: 117 }, args: [0, 0, 0], errno: EPERM },
  { what: 'mount', number: { x64: 165, arm64: 40 }, args: [0, 0, 0], errno: EPERM },
  { what: 'unmount', number: { x64: 166, arm64: 39 }, args: [0, 0, 0], errno: EPERM },
  { what: 'make a namespace', number: { x64: 272, arm64: 97 }, args: [newUser, 0, 0], errno: EPERM },
  { what: 'enter a namespace', number: { x64: 308, arm64: 268 }, args: [0, 0, 0], errno: EPERM },
  { what: 'change its root', number: { x64: 161, arm64: 51 }, args: [0, 0, 0], errno: EPERM },
  { what: 'fork into a namespace', number: { x64: 56, arm64: 220 }, args: [newUser, 0, 0], errno: EPERM },
  { what: 'use clone3', number: both(435), args: [0, 0, 0], errno: ENOSYS },
  { what: 'use BPF', number: { x64: 321, arm64: 280 }, args: [0, 0, 0], errno: EPERM },
  { what: 'use io_uring', number: both(425), args: [0, 0, 0], errno: EPERM },
  { what: 'use keys', number: { x64: 250, arm64: 219 }, args: [0, 0, 0], errno: EPERM },
  { what: 'read the memory of others', number: { x64: 310, arm64: 270 }, args: [0, 0, 0], errno: EPERM },
  { what: 'open a netlink socket', number: { x64: 41, arm64: 198 }, args: [16, 3, 0], errno: EAFNOSUPPORT },
  { what: 'open a packet socket', number: { x64: 41, arm64: 198 }, args: [17, 3, 0], errno: EAFNOSUPPORT },
  { what: 'type into a terminal', number: { x64: 16, arm64: 29 }, args: [0, 0x5412, 0], errno: EPERM },
]

/** A binary that makes all of `calls` and writes what each returned, 8 bytes a call, to its standard output. */
export function formatSyscallAttack(arch: SyscallArch, calls: readonly ForbiddenCall[]): Buffer {
  const write = { x64: 1, arm64: 64 }
  const exit = { x64: 231, arm64: 94 }
  const steps = calls.flatMap(({ number, args }, index) => [
    machine[arch].call(number[arch], args),
    machine[arch].store(8 * index),
  ])
  const code = [
    machine[arch].begin(),
    ...steps,
    machine[arch].call(write[arch], [1, memoryAddress, 8 * calls.length]),
    machine[arch].call(exit[arch], [0, 0, 0]),
  ]
  return formatElf(arch, Buffer.concat(code), 4096)
}

/** @returns `what` of each call that did not fail as it must */
export function readSyscallAttack(output: Buffer, calls: readonly ForbiddenCall[]): string[] | undefined {
  if (output.length !== 8 * calls.length) return undefined
  return calls
    .filter(({ errno }, index) => Number(output.readBigInt64LE(8 * index)) !== -errno)
    .map(({ what }) => what)
}

interface Machine {
  begin(): Buffer
  call(number: number, args: readonly number[]): Buffer
  /** Keeps what the last call returned, at an offset of the memory. */
  store(offset: number): Buffer
}

const machine: Readonly<Record<SyscallArch, Machine>> = {
  x64: {
    begin: () => x64Load(0xbd, memoryAddress), // mov ebp, …
    call: (number, [first = 0, second = 0, third = 0]) =>
      Buffer.concat([
        ...[x64Load(0xb8, number), x64Load(0xbf, first), x64Load(0xbe, second), x64Load(0xba, third)],
        Buffer.from([0x45, 0x31, 0xd2, 0x0f, 0x05]), // xor r10d, r10d; syscall
      ]),
    store: (offset) => Buffer.concat([Buffer.from([0x48, 0x89, 0x85]), int32(offset)]), // mov [rbp+…], rax
  },
  arm64: {
    begin: () => arm64Load(19, memoryAddress),
    call: (number, args) =>
      Buffer.concat([
        ...[arm64Load(8, number), ...args.map((value, index) => arm64Load(index, value))],
        ...[arm64Load(3, 0), int32(0xd400_0001)], // svc 0
      ]),
    store: (offset) => int32(0xf900_0000 | ((offset / 8) << 10) | (19 << 5)), // str x0, [x19, …]
  },
}

function x64Load(opcode: number, value: number): Buffer {
  return Buffer.concat([Buffer.from([opcode]), int32(value)])
}

/** movz and movk: 32 bits in two halves. */
function arm64Load(register: number, value: number): Buffer {
  const low = 0xd280_0000 | ((value & 0xffff) << 5) | register
  const high = 0xf2a0_0000 | ((value >>> 16) << 5) | register
  return Buffer.concat([int32(low), int32(high)])
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value >>> 0)
  return bytes
}
