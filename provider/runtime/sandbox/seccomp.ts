import { auditArch, type SyscallArch, type SyscallName, syscallNumber, syscallNumbers } from './syscalls.ts'

/**
 * The system call filter for workerd as a classic BPF program, as `bwrap --seccomp` and the kernel take it: an
 * allow-list, with threads but no processes, Unix sockets but no others, and no `ioctl` beyond the harmless.
 * Whatever else is tried fails with EPERM, which a program survives and a log shows.
 *
 * @returns undefined on an architecture whose numbers are not known here.
 */
export function formatSeccompFilter(arch: string): Buffer | undefined {
  if (arch !== 'x64' && arch !== 'arm64') return undefined
  return Buffer.concat([
    ...onlyArchitecture(arch),
    ...allowAlways(arch),
    ...onCall('clone3', arch, [answer(errno.ENOSYS)]),
    // A thread, and in no new namespace: flags are the first argument on both architectures.
    ...onCall('clone', arch, [
      load(offsets.argument0),
      jump(ops.jumpIfAnyBit, cloneNewFlags, { ifTrue: 2 }),
      jump(ops.jumpIfAnyBit, cloneThread, { ifFalse: 1 }),
      answer(allow),
      answer(errno.EPERM),
    ]),
    ...onCall('socket', arch, allowArgument(offsets.argument0, [addressFamilyUnix], errno.EAFNOSUPPORT)),
    ...onCall('socketpair', arch, allowArgument(offsets.argument0, [addressFamilyUnix], errno.EAFNOSUPPORT)),
    ...onCall('ioctl', arch, allowArgument(offsets.argument1, harmlessIoctls, errno.ENOTTY)),
    answer(errno.EPERM),
  ])
}

/** Calls that are looked at more closely than by name. */
const inspected: readonly SyscallName[] = ['clone', 'clone3', 'socket', 'socketpair', 'ioctl']

const ops = { load: 0x20, jumpIfEqual: 0x15, jumpIfAnyBit: 0x45, return: 0x06 } as const
/** Offsets in `struct seccomp_data`; the lower halves of the arguments, as both machines are little-endian. */
const offsets = { number: 0, architecture: 4, argument0: 16, argument1: 24 } as const

const killProcess = 0x8000_0000
const allow = 0x7fff_0000
const errno = {
  EPERM: 0x0005_0001,
  ENOTTY: 0x0005_0019,
  ENOSYS: 0x0005_0026,
  EAFNOSUPPORT: 0x0005_0061,
} as const

const cloneThread = 0x0001_0000
/** CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET. */
const cloneNewFlags = 0x7e02_0000
const addressFamilyUnix = 1
/** FIONBIO, FIONREAD, TCGETS. */
const harmlessIoctls = [0x5421, 0x541b, 0x5401] as const

function onlyArchitecture(arch: SyscallArch): Buffer[] {
  return [
    load(offsets.architecture),
    jump(ops.jumpIfEqual, auditArch[arch], { ifTrue: 1 }),
    answer(killProcess),
    load(offsets.number),
  ]
}

function allowAlways(arch: SyscallArch): Buffer[] {
  const names = Object.keys(syscallNumbers) as SyscallName[]
  return names
    .filter((name) => !inspected.includes(name))
    .flatMap((name) => onCall(name, arch, [answer(allow)]))
}

/** Runs `body`, which must end in an answer, for one system call. */
function onCall(name: SyscallName, arch: SyscallArch, body: readonly Buffer[]): Buffer[] {
  const number = syscallNumber(name, arch)
  return number === undefined ? [] : [jump(ops.jumpIfEqual, number, { ifFalse: body.length }), ...body]
}

function allowArgument(offset: number, values: readonly number[], refusal: number): Buffer[] {
  const jumps = values.map((value, index) => jump(ops.jumpIfEqual, value, { ifTrue: values.length - index }))
  return [load(offset), ...jumps, answer(refusal), answer(allow)]
}

function load(offset: number): Buffer {
  return instruction(ops.load, 0, 0, offset)
}

function jump(op: number, value: number, { ifTrue = 0, ifFalse = 0 }): Buffer {
  return instruction(op, ifTrue, ifFalse, value)
}

function answer(value: number): Buffer {
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
