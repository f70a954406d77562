import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { deniedSyscalls } from './denied-syscalls.ts'
import { formatNativeSeccompFilter, formatSeccompFilter } from './seccomp.ts'
import { auditArch, type SyscallName, syscallNumber, syscallNumbers } from './syscalls.ts'

const allowed = 0x7fff_0000
const killed = 0x8000_0000
const refused = (errno: number) => 0x0005_0000 | errno
const [EPERM, ENOTTY, ENOSYS, EAFNOSUPPORT] = [1, 25, 38, 97]

describe.each(['x64', 'arm64'] as const)('the filter for %s', (arch) => {
  const call = (name: SyscallName, ...args: number[]) => run(arch, syscallNumber(name, arch)!, args)

  test.each(['read', 'write', 'mmap', 'futex', 'accept4', 'openat', 'execve', 'exit_group'] as const)(
    'allows %s',
    (name) => {
      expect(call(name)).toBe(allowed)
    },
  )

  test('allows threads, but neither processes nor new namespaces', () => {
    const [thread, newUser, vfork] = [0x0001_0000, 0x1000_0000, 0x4000]
    expect(call('clone', thread | 0x3d0f00)).toBe(allowed)
    expect(call('clone', vfork)).toBe(refused(EPERM))
    expect(call('clone', thread | newUser)).toBe(refused(EPERM))
    expect(call('clone3')).toBe(refused(ENOSYS))
  })

  test('allows Unix sockets only', () => {
    const [unix, inet, inet6, netlink, packet, vsock] = [1, 2, 10, 16, 17, 40]
    for (const name of ['socket', 'socketpair'] as const) {
      expect(call(name, unix!)).toBe(allowed)
      for (const family of [inet, inet6, netlink, packet, vsock])
        expect(call(name, family!)).toBe(refused(EAFNOSUPPORT))
    }
  })

  test('allows no ioctl that types into a terminal', () => {
    const [FIONBIO, TIOCSTI] = [0x5421, 0x5412]
    expect(call('ioctl', 3, FIONBIO)).toBe(allowed)
    expect(call('ioctl', 3, TIOCSTI)).toBe(refused(ENOTTY))
  })

  test('refuses every other call', () => {
    const known = new Set<number | undefined>(
      Object.values(syscallNumbers).map((numbers) => numbers[arch === 'x64' ? 0 : 1]),
    )
    fc.assert(
      fc.property(
        fc.nat(0xffff_ffff).filter((number) => !known.has(number)),
        (number) => {
          expect(run(arch, number)).toBe(refused(EPERM))
        },
      ),
    )
  })

  test('ends a process that speaks the numbers of another architecture', () => {
    const filter = formatSeccompFilter(arch)!
    const i386 = 0x4000_0003
    expect(interpret(filter, { number: 1, architecture: i386, args: [] })).toBe(killed)
  })
})

describe.each(['x64', 'arm64'] as const)('the filter of native programs for %s', (arch) => {
  const filter = formatNativeSeccompFilter(arch)!
  const runNative = (number: number, ...args: number[]) =>
    interpret(filter, { number, architecture: auditArch[arch], args })
  const call = (name: SyscallName, ...args: number[]) => runNative(syscallNumber(name, arch)!, ...args)

  test('refuses every call of the list, and allows those of the other one', () => {
    const denied = Object.values(deniedSyscalls).map((numbers) => numbers[arch === 'x64' ? 0 : 1])
    const looked = ['clone', 'clone3', 'socket', 'socketpair', 'ioctl']
    for (const number of denied) if (number !== undefined) expect(runNative(number)).toBe(refused(EPERM))
    for (const name of Object.keys(syscallNumbers) as SyscallName[]) {
      const number = syscallNumber(name, arch)
      if (number === undefined || looked.includes(name)) continue
      expect(denied).not.toContain(number)
      expect(runNative(number)).toBe(allowed)
    }
  })

  test('allows every call that no list names', () => {
    const known = new Set<number | undefined>(
      [...Object.values(deniedSyscalls), ...Object.values(syscallNumbers)].map(
        (numbers) => numbers[arch === 'x64' ? 0 : 1],
      ),
    )
    fc.assert(
      fc.property(
        fc.nat(1_000).filter((number) => !known.has(number)),
        (number) => {
          expect(runNative(number)).toBe(allowed)
        },
      ),
    )
  })

  test('allows processes and threads, but no new namespaces', () => {
    const [SIGCHLD, thread] = [17, 0x0001_0000]
    expect(call('clone', SIGCHLD)).toBe(allowed)
    expect(call('clone', thread | 0x3d0f00)).toBe(allowed)
    for (const bit of [17, 25, 26, 27, 28, 29, 30])
      expect(call('clone', SIGCHLD | (1 << bit))).toBe(refused(EPERM))
    expect(call('clone3')).toBe(refused(ENOSYS))
  })

  test('allows sockets of the Internet, as there is none, but none that speaks to the kernel', () => {
    const [unix, inet, netlink, inet6, packet, vsock, alg] = [1, 2, 16, 10, 17, 40, 38]
    for (const family of [unix, inet, inet6]) expect(call('socket', family!)).toBe(allowed)
    for (const family of [netlink, packet, vsock, alg])
      expect(call('socket', family!)).toBe(refused(EAFNOSUPPORT))
  })

  test('allows no ioctl that types into a terminal', () => {
    const [TIOCSTI, TIOCLINUX, TIOCGWINSZ] = [0x5412, 0x541c, 0x5413]
    expect(call('ioctl', 0, TIOCGWINSZ)).toBe(allowed)
    for (const request of [TIOCSTI, TIOCLINUX]) expect(call('ioctl', 0, request)).toBe(refused(EPERM))
  })

  test('is not blind to the other numbers of the same calls', () => {
    const i386 = 0x4000_0003
    expect(interpret(filter, { number: 26, architecture: i386, args: [] })).toBe(killed)
    const x32 = 0x4000_0000
    if (arch === 'x64') expect(runNative(x32 | 101)).toBe(refused(ENOSYS))
  })
})

test('the dangerous calls have no number here at all', () => {
  const names = Object.keys(syscallNumbers)
  for (const name of [
    'ptrace',
    'mount',
    'unshare',
    'setns',
    'bpf',
    'io_uring_setup',
    'memfd_create',
    'chmod',
    'kill',
  ])
    expect(names).not.toContain(name)
})

test('an unknown architecture has no filter, rather than a wrong one', () => {
  expect(formatSeccompFilter('riscv64')).toBeUndefined()
  expect(formatNativeSeccompFilter('riscv64')).toBeUndefined()
})

function run(arch: 'x64' | 'arm64', number: number, args: readonly number[] = []): number {
  return interpret(formatSeccompFilter(arch)!, { number, architecture: auditArch[arch], args })
}

/** The kernel's side: a machine for classic BPF, with the five instructions that filters use. */
function interpret(
  filter: Buffer,
  call: { number: number; architecture: number; args: readonly number[] },
): number {
  const facts = Buffer.alloc(64)
  facts.writeUInt32LE(call.number, 0)
  facts.writeUInt32LE(call.architecture, 4)
  call.args.forEach((value, i) => void facts.writeUInt32LE(value >>> 0, 16 + 8 * i))
  let accumulator = 0
  for (let at = 0; at < filter.length; at += 8) {
    const [code, ifTrue, ifFalse] = [filter.readUInt16LE(at), filter[at + 2]!, filter[at + 3]!]
    const value = filter.readUInt32LE(at + 4)
    if (code === 0x06) return value
    if (code === 0x20) accumulator = facts.readUInt32LE(value)
    else if (code === 0x15) at += 8 * (accumulator === value ? ifTrue : ifFalse)
    else if (code === 0x35) at += 8 * (accumulator >= value ? ifTrue : ifFalse)
    else if (code === 0x45) at += 8 * ((accumulator & value) !== 0 ? ifTrue : ifFalse)
    else throw new Error(`unknown instruction ${code}`)
  }
  throw new Error('the filter ended without an answer')
}
