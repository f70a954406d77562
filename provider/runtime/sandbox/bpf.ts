import { auditArch, type SyscallArch } from './syscalls.ts'

/** Classic BPF, as `bwrap --seccomp` and the kernel take it: what system call filters are put together from. */
export const ops = {
  load: 0x20,
  jumpIfEqual: 0x15,
  jumpIfAtLeast: 0x35,
  jumpIfAnyBit: 0x45,
  return: 0x06,
} as const

/** Offsets in `struct seccomp_data`; the lower halves of the arguments, as both machines are little-endian. */
export const offsets = { number: 0, architecture: 4, argument0: 16, argument1: 24 } as const

export const killProcess = 0x8000_0000
export const allow = 0x7fff_0000
export const errno = {
  EPERM: 0x0005_0001,
  ENOTTY: 0x0005_0019,
  ENOSYS: 0x0005_0026,
  EAFNOSUPPORT: 0x0005_0061,
} as const

/** Ends a process that speaks the numbers of another architecture, and loads the call's number. */
export function onlyArchitecture(arch: SyscallArch): Buffer[] {
  return [
    load(offsets.architecture),
    jump(ops.jumpIfEqual, auditArch[arch], { ifTrue: 1 }),
    answer(killProcess),
    load(offsets.number),
  ]
}

/** Runs `body`, which must end in an answer, for the call of one number; undefined is a call that there is not. */
export function onNumber(number: number | undefined, body: readonly Buffer[]): Buffer[] {
  return number === undefined ? [] : [jump(ops.jumpIfEqual, number, { ifFalse: body.length }), ...body]
}

/** Allows the call if an argument is one of `values`. */
export function allowArgument(offset: number, values: readonly number[], refusal: number): Buffer[] {
  const jumps = values.map((value, index) => jump(ops.jumpIfEqual, value, { ifTrue: values.length - index }))
  return [load(offset), ...jumps, answer(refusal), answer(allow)]
}

/** Refuses the call if an argument is one of `values`. */
export function refuseArgument(offset: number, values: readonly number[], refusal: number): Buffer[] {
  const jumps = values.map((value, index) => jump(ops.jumpIfEqual, value, { ifTrue: values.length - index }))
  return [load(offset), ...jumps, answer(allow), answer(refusal)]
}

export function load(offset: number): Buffer {
  return instruction(ops.load, 0, 0, offset)
}

export function jump(op: number, value: number, { ifTrue = 0, ifFalse = 0 }): Buffer {
  return instruction(op, ifTrue, ifFalse, value)
}

export function answer(value: number): Buffer {
  return instruction(ops.return, 0, 0, value)
}

/** `struct sock_filter`. */
function instruction(code: number, ifTrue: number, ifFalse: number, value: number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt16LE(code, 0)
  bytes.writeUInt8(ifTrue, 2)
  bytes.writeUInt8(ifFalse, 3)
  bytes.writeUInt32LE(value >>> 0, 4)
  return bytes
}
