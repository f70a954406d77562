import { MiB } from '../../../protocol/base/bytes.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { limits } from '../../../protocol/limits.ts'
import { knockAndTell, openDecoy } from '../decoy.ts'
import { encodeLaunch } from '../sandbox/launch-image.ts'
import type { NativeMount } from '../sandbox/native-mount.ts'
import type { Sandbox } from '../sandbox/sandbox.ts'
import { isSyscallArch } from '../sandbox/syscalls.ts'
import { createAppFolder } from './app-folder.ts'
import type { NativeRoot } from './binary.ts'
import { forbiddenCalls, formatSyscallAttack, readSyscallAttack } from './syscall-attack.ts'

/**
 * Attacks the sandbox of native programs from inside, with Node as the program and with raw system calls.
 *
 * @returns one sentence for every attack that succeeded; empty where everything held.
 */
export async function attackNatively(
  sandbox: Sandbox,
  { root, mounts, isGvisor = false }: AttackView,
  signal: AbortSignal,
): Promise<readonly string[]> {
  if (!isSyscallArch(process.arch)) return [`No native program can be tried on ${process.arch}.`]
  await using decoy = await openDecoy()
  await using app = await createAppFolder(
    sandbox,
    {
      entry: 'calls',
      files: [
        { path: 'calls', bytes: formatSyscallAttack(process.arch, forbiddenCalls) },
        { path: 'reach.cjs', bytes: Buffer.from(reachAttack) },
        { path: 'hog.cjs', bytes: Buffer.from(hogAttack) },
      ],
    },
    signal,
  )
  const node = await sandbox.prepare(process.execPath, signal)
  const bind = (from: string, to = from): NativeMount => ({ kind: 'bind', from, to })
  // With /usr they are in sight already.
  const libraries = root === 'none' ? node.libraries.map((library) => bind(library)) : []
  const seen = [bind(node.path, attackerPath), ...libraries]
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.selfTestMsMax)])

  async function run(args: readonly string[], env: Record<string, string>): Promise<Ran> {
    await using cell = await sandbox.spawnNative(
      { app: app.path, user: app.user, mounts: [...mounts, ...seen], hasDoors: false },
      deadline,
    )
    cell.limitMemory(attackMemoryBytes)
    cell.stderr.resume()
    cell.control.on('error', () => undefined).end(encodeLaunch({ args, env }))
    cell.stdin.end()
    const output = await raceSignal(cell.stdout.toArray(), deadline)
    await raceSignal(cell.exited, deadline)
    return { output: Buffer.concat(output), wasOutOfMemory: cell.wasOutOfMemory() }
  }

  const reach = async () => {
    const { output } = await run(
      [
        attackerPath,
        '/app/reach.cjs',
        String(decoy.port),
        root,
        isGvisor ? 'gvisor' : 'host',
        decoy.socketName,
      ],
      { OWN: '1' },
    )
    return readList(output.toString())
  }
  const calls = async () => readSyscallAttack((await run(['/app/calls'], {})).output, forbiddenCalls)
  const hog = async () => {
    const { wasOutOfMemory } = await run([attackerPath, '/app/hog.cjs'], {})
    return sandbox.walls.cgroups && !wasOutOfMemory ? ['take more memory than its limit'] : []
  }
  const found = await Promise.all(
    // What a call means inside gVisor is gVisor's affair: none of them reaches the host.
    (isGvisor ? [reach, hog] : [reach, calls, hog]).map((attack) =>
      attack().catch(() => {
        signal.throwIfAborted()
        return undefined
      }),
    ),
  )
  const breaches = found.flatMap((one) => one ?? ['not be tried'])
  const reached = decoy.connections > 0 ? ['reach a port of this machine'] : []
  return [...breaches, ...reached].map((what) => `A native program could ${what}.`)
}

export interface AttackView {
  readonly root: NativeRoot
  readonly mounts: readonly NativeMount[]
  /** Whether a kernel of its own is between the program and the host's. */
  readonly isGvisor?: boolean
}

interface Ran {
  readonly output: Buffer
  readonly wasOutOfMemory: boolean
}

const attackerPath = '/attacker'
const attackMemoryBytes = 96 * MiB

/** Prints what it could do, as JSON. */
const reachAttack = `
  const fs = require('fs'), net = require('net')
  const [port, root, kernel, socketName] = process.argv.slice(2)
  const succeeded = []
  const attempt = (what, attack) => { try { attack(); succeeded.push(what) } catch {} }
  const hidden = ['/etc/passwd', '/etc/hostname', '/root', '/home', '/var', '/run/user']
  // gVisor has a /proc, a /sys and a /dev/shm of its own.
  if (kernel === 'host') hidden.push('/proc/1', '/proc/self', '/sys')
  else if (!require('os').release().startsWith('4.4.0')) succeeded.push('see the kernel of the host')
  for (const path of root === 'none' ? [...hidden, '/usr', '/bin', '/etc'] : hidden)
    attempt('read ' + path, () => fs.statSync(path))
  for (const folder of ['', '/dev', kernel === 'host' ? '/dev/shm' : '', '/run', '/app', '/usr', '/lib'])
    attempt('write to ' + (folder || '/'), () => fs.mkdirSync(folder + '/attack'))
  attempt('change its own files', () => fs.chmodSync('/app/reach.cjs', 0o777))
  attempt('fill its disk', () => { for (let i = 0; i < 80; i++) fs.writeFileSync('/tmp/' + i, Buffer.alloc(1 << 20)) })
  for (const name of Object.keys(process.env)) if (name !== 'OWN' && name !== 'PWD') succeeded.push('see the variable ' + name)
  if (process.getuid() === 0 || process.getgid() === 0) succeeded.push('be root')
  attempt('become root', () => process.setuid(0))
  for (let fd = 3; fd < 64; fd++)
    attempt('see a socket of others', () => { if (fs.fstatSync(fd).isSocket()) return; throw 0 })
  ${knockAndTell}
`

const hogAttack = `
  const kept = []
  for (let i = 0; i < 512; i++) kept.push(Buffer.alloc(1 << 20, 1))
`

/** What it printed; anything but a list means that the attack did not run, which proves nothing. */
function readList(text: string): string[] | undefined {
  try {
    const list: unknown = JSON.parse(text)
    return Array.isArray(list) ? list.map(String) : undefined
  } catch {
    return undefined
  }
}
