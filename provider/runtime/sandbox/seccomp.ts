import {
  allow,
  allowArgument,
  answer,
  errno,
  jump,
  load,
  offsets,
  onlyArchitecture,
  onNumber,
  ops,
  refuseArgument,
} from './bpf.ts'
import { deniedSyscalls } from './denied-syscalls.ts'
import {
  isSyscallArch,
  type SyscallArch,
  type SyscallName,
  syscallNumber,
  syscallNumbers,
} from './syscalls.ts'

/**
 * The system call filter for workerd as a classic BPF program: an allow-list, with threads but no processes, Unix
 * sockets but no others, and no `ioctl` beyond the harmless. Whatever else is tried fails with EPERM, which a program
 * survives and a log shows.
 *
 * @returns undefined on an architecture whose numbers are not known here.
 */
export function formatSeccompFilter(arch: string): Buffer | undefined {
  if (!isSyscallArch(arch)) return undefined
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
    ...onCall('socket', arch, allowArgument(offsets.argument0, [family.unix], errno.EAFNOSUPPORT)),
    ...onCall('socketpair', arch, allowArgument(offsets.argument0, [family.unix], errno.EAFNOSUPPORT)),
    ...onCall('ioctl', arch, allowArgument(offsets.argument1, harmlessIoctls, errno.ENOTTY)),
    answer(errno.EPERM),
  ])
}

/**
 * The filter for native programs, which may be anything: a deny-list of what reaches beyond a process of an ordinary
 * user, or into parts of the kernel where few ever looked. They may fork and open sockets, in a network that has
 * nothing but themselves, but make no namespace and type into no terminal.
 *
 * @returns undefined on an architecture whose numbers are not known here.
 */
export function formatNativeSeccompFilter(arch: string): Buffer | undefined {
  if (!isSyscallArch(arch)) return undefined
  const numbers = Object.values(deniedSyscalls).map(([x64, arm64]) => (arch === 'x64' ? x64 : arm64))
  const sockets = [family.unix, family.inet, family.inet6]
  return Buffer.concat([
    ...onlyArchitecture(arch),
    // The x32 numbers of the same calls, under which a list of x86_64 numbers would be blind.
    ...(arch === 'x64' ? [jump(ops.jumpIfAtLeast, x32Numbers, { ifFalse: 1 }), answer(errno.ENOSYS)] : []),
    ...numbers.flatMap((number) => onNumber(number, [answer(errno.EPERM)])),
    // Its flags are in memory, where no filter can look; libraries then use `clone`.
    ...onCall('clone3', arch, [answer(errno.ENOSYS)]),
    ...onCall('clone', arch, [
      load(offsets.argument0),
      jump(ops.jumpIfAnyBit, cloneNewFlags, { ifFalse: 1 }),
      answer(errno.EPERM),
      answer(allow),
    ]),
    ...onCall('socket', arch, allowArgument(offsets.argument0, sockets, errno.EAFNOSUPPORT)),
    ...onCall('socketpair', arch, allowArgument(offsets.argument0, [family.unix], errno.EAFNOSUPPORT)),
    ...onCall('ioctl', arch, refuseArgument(offsets.argument1, typingIoctls, errno.EPERM)),
    answer(allow),
  ])
}

/** Calls that are looked at more closely than by name. */
const inspected: readonly SyscallName[] = ['clone', 'clone3', 'socket', 'socketpair', 'ioctl']

const cloneThread = 0x0001_0000
/** CLONE_NEWNS, CGROUP, UTS, IPC, USER, PID and NET; CLONE_NEWTIME is a signal's bit here, and means nothing to `clone`. */
const cloneNewFlags = 0x7e02_0000
/** Address families of sockets. */
const family = { unix: 1, inet: 2, inet6: 10 } as const
/** FIONBIO, FIONREAD, TCGETS. */
const harmlessIoctls = [0x5421, 0x541b, 0x5401] as const
/** TIOCSTI and TIOCLINUX put words into a terminal's mouth. */
const typingIoctls = [0x5412, 0x541c] as const
const x32Numbers = 0x4000_0000

function allowAlways(arch: SyscallArch): Buffer[] {
  const names = Object.keys(syscallNumbers) as SyscallName[]
  return names
    .filter((name) => !inspected.includes(name))
    .flatMap((name) => onCall(name, arch, [answer(allow)]))
}

function onCall(name: SyscallName, arch: SyscallArch, body: readonly Buffer[]): Buffer[] {
  return onNumber(syscallNumber(name, arch), body)
}
