import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { chmod, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import type { Log } from '../../../protocol/base/log.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import type { Walls } from '../runtime.ts'
import { formatBubblewrapArgs, inside, readChildPid } from './bubblewrap.ts'
import { type Cell, cgroupLimits, createCell } from './cell.ts'
import { type Cgroup, type Cgroups, openCgroups } from './cgroup.ts'
import { maskDescriptors, readInheritableDescriptors } from './descriptors.ts'
import { type Executable, findCommand, prepareExecutable } from './executable.ts'
import { findLeftovers } from './leftovers.ts'
import { formatSeccompFilter } from './seccomp.ts'
import { openUsers } from './users.ts'

/** Starts processes behind the best walls that this machine offers. */
export interface Sandbox extends AsyncDisposable {
  readonly walls: Walls
  /** One sentence for every wall that is missing. */
  readonly reasons: readonly string[]
  /** Makes a binary startable in here; do it once. */
  prepare(path: string, signal: AbortSignal): Promise<Executable>
  /** @throws ProtocolError `sandbox_unavailable` */
  spawn(command: Command, signal: AbortSignal): Promise<Cell>
}

export interface Command {
  readonly executable: Executable
  /** @param folder - The shared folder, by the path that the process knows it by. */
  readonly args: (folder: string) => readonly string[]
}

export interface SandboxOptions {
  /** `process` leaves bubblewrap out, even where it works; `bare` leaves cgroups out as well. */
  readonly mode: 'auto' | 'process' | 'bare'
  /** A binary that answers `--version`: what every wall is tried with before it is relied on. */
  readonly trialPath: string
}

const folderPrefix = 'khp-'

/** Finds out by trying which walls hold here, and builds them around everything that is spawned. */
export async function createSandbox(
  { log }: { log: Log },
  { mode, trialPath }: SandboxOptions,
  signal: AbortSignal,
): Promise<Sandbox> {
  await using starting = new AsyncDisposableStack()
  // Short, as a Unix socket's path may have 107 bytes; open to all, so that every program's user reaches its folder.
  for (const name of await findLeftovers(tmpdir(), folderPrefix)) {
    await rm(join(tmpdir(), name), { recursive: true, force: true }).catch(() => undefined)
  }
  const folder = await mkdtemp(join(tmpdir(), `${folderPrefix}${process.pid}-`))
  starting.defer(() => rm(folder, { recursive: true, force: true }))
  await chmod(folder, 0o711)

  const nullFd = openSync('/dev/null', 'r+')
  starting.defer(() => closeSync(nullFd))

  const cgroups = mode === 'bare' ? 'Cgroups were left out on request.' : await openCgroups()
  if (typeof cgroups !== 'string') starting.use(cgroups)

  const site: Site = {
    folder,
    nullFd,
    log,
    cgroups: typeof cgroups === 'string' ? undefined : cgroups,
    inherited: readInheritableDescriptors(),
    filterPath: writeFilter(folder),
    nextUser: openUsers(),
    cells: 0,
  }
  const trial = await prepareExecutable(trialPath, { folder }, signal)
  const { launcher, reasons } = await chooseLauncher(site, trial, { mode }, signal)
  const hasNamespaces = launcher.kind === 'bubblewrap'
  const parts = starting.move()
  return {
    walls: {
      namespaces: hasNamespaces,
      seccomp: hasNamespaces && site.filterPath !== undefined,
      cgroups: site.cgroups !== undefined,
      ownUser: site.nextUser !== undefined,
    },
    reasons: [
      ...reasons,
      ...(typeof cgroups === 'string' ? [cgroups] : []),
      ...(process.getuid?.() === 0 && !site.nextUser
        ? ['This provider is root but has no users to give out.']
        : []),
      ...(site.filterPath ? [] : [`There is no system call filter for ${process.arch}.`]),
    ],
    prepare: (path, signal) =>
      path === trialPath ? Promise.resolve(trial) : prepareExecutable(path, { folder }, signal),
    spawn: (command, signal) => spawnCell(site, launcher, command, signal),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** What all cells of a sandbox have in common. */
interface Site {
  readonly folder: string
  readonly nullFd: number
  readonly log: Log
  readonly cgroups: Cgroups | undefined
  readonly inherited: readonly number[]
  readonly filterPath: string | undefined
  readonly nextUser: (() => number) | undefined
  cells: number
}

type Launcher =
  | { readonly kind: 'bubblewrap'; readonly path: string; readonly canDisableUserNamespaces: boolean }
  /** `setpriv`, where there is one, ties the child's life to ours and forbids it new privileges. */
  | { readonly kind: 'plain'; readonly setprivPath: string | undefined }

/** Takes the first launcher that can start something; why the better ones could not is kept. */
async function chooseLauncher(
  site: Site,
  trial: Executable,
  { mode }: { mode: SandboxOptions['mode'] },
  signal: AbortSignal,
): Promise<{ launcher: Launcher; reasons: string[] }> {
  const path = mode === 'auto' ? await findCommand('bwrap') : undefined
  const setprivPath = await findCommand('setpriv')
  const reasons = []
  if (mode !== 'auto') reasons.push('Bubblewrap was left out on request.')
  else if (!path) reasons.push('Bubblewrap (bwrap) is not installed.')

  const plain: Launcher = { kind: 'plain', setprivPath: undefined }
  const candidates: Launcher[] = [
    ...(path ? [true, false].map((can) => bubblewrap(path, { canDisableUserNamespaces: can })) : []),
    ...(setprivPath ? [{ ...plain, setprivPath }] : []),
  ]
  for (const launcher of candidates) {
    const problem = await tryLauncher(site, launcher, trial, signal)
    if (problem === undefined) return { launcher, reasons }
    if (launcher.kind === 'bubblewrap' && !launcher.canDisableUserNamespaces)
      reasons.push(`Bubblewrap does not work here: ${problem}`)
  }
  return { launcher: plain, reasons }
}

function bubblewrap(path: string, options: { canDisableUserNamespaces: boolean }): Launcher {
  return { kind: 'bubblewrap', path, ...options }
}

/** @returns what went wrong, in words. */
async function tryLauncher(
  site: Site,
  launcher: Launcher,
  executable: Executable,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    await using cell = await spawnCell(site, launcher, { executable, args: () => ['--version'] }, signal)
    const errors = cell.stderr.setEncoding('utf8').toArray()
    cell.stdout.resume()
    const { code } = await raceSignal(cell.exited, signal)
    if (code === 0) return undefined
    return (await errors).join('').trim().slice(0, 300) || `it ended with ${code}`
  } catch (error) {
    if (signal.aborted) throw error
    return error instanceof Error ? error.message : String(error)
  }
}

async function spawnCell(
  site: Site,
  launcher: Launcher,
  command: Command,
  signal: AbortSignal,
): Promise<Cell> {
  signal.throwIfAborted()
  const folder = join(site.folder, String(++site.cells))
  const user = site.nextUser?.()
  mkdirSync(folder, { mode: 0o700 })
  let cgroup: Cgroup | undefined
  try {
    if (user !== undefined) chownSync(folder, user, user)
    cgroup = site.cgroups?.create()
    cgroup?.limit(cgroupLimits((limits.programMemoryMiBMax + limits.runtimeMemoryMiB) * 1024 * 1024))
    const launch = launcher.kind === 'bubblewrap' ? launchBubblewrap : launchPlain
    return await launch(site, launcher as never, { ...command, folder, user, cgroup }, signal)
  } catch (error) {
    rmSync(folder, { recursive: true, force: true })
    await cgroup?.remove().catch(() => undefined)
    if (signal.aborted) throw signal.reason
    throw new ProtocolError('sandbox_unavailable', 'A sandbox could not be started on this provider.', {
      hint: 'Send the call again, or to another provider.',
      cause: error,
    })
  }
}

interface Launch extends Command {
  readonly folder: string
  readonly user: number | undefined
  readonly cgroup: Cgroup | undefined
}

async function launchBubblewrap(
  site: Site,
  launcher: Extract<Launcher, { kind: 'bubblewrap' }>,
  { executable, args, folder, user, cgroup }: Launch,
  signal: AbortSignal,
): Promise<Cell> {
  const filterFd = site.filterPath === undefined ? undefined : openSync(site.filterPath, 'r')
  const bubblewrapArgs = formatBubblewrapArgs({
    executable,
    args: args(inside.folder),
    folder,
    seccompFd: filterFd === undefined ? undefined : 4,
    infoFd: 5,
    blockFd: 6,
    canDisableUserNamespaces: launcher.canDisableUserNamespaces,
  })
  const stdio = ['pipe', 'pipe', 'pipe', 'pipe', filterFd ?? site.nullFd, 'pipe', 'pipe'] as const
  let child: ChildProcess
  try {
    child = spawnBounded(site, [launcher.path, ...bubblewrapArgs], { stdio, user })
  } finally {
    if (filterFd !== undefined) closeSync(filterFd)
  }
  try {
    await started(child)
    const pid = await raceSignal(readChildPid(pipeOf(child, 5) as Readable), signal)
    if (pid === undefined) throw new Error(await readFailure(child))
    // The program does not run yet: nothing that it does can escape being counted.
    cgroup?.add(child.pid!)
    cgroup?.add(pid)
    const block = pipeOf(child, 6) as Writable
    block.on('error', ignoreError).end('1')
    return createCell({ child, pid, folder, cgroup, log: site.log })
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
}

async function launchPlain(
  site: Site,
  { setprivPath }: Extract<Launcher, { kind: 'plain' }>,
  { executable, args, folder, user, cgroup }: Launch,
): Promise<Cell> {
  const guard = setprivPath ? [setprivPath, '--no-new-privs', '--pdeathsig', 'KILL', '--'] : []
  const child = spawnBounded(site, [...guard, executable.path, ...args(folder)], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    user,
    cwd: folder,
  })
  await started(child)
  try {
    cgroup?.add(child.pid!)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  return createCell({ child, pid: child.pid!, folder, cgroup, log: site.log })
}

/** No core dumps (they would hold secrets), no files, few descriptors; the command itself is never read as shell. */
const boundScript = 'ulimit -c 0; ulimit -f 0; ulimit -n 1024; exec "$@"'

function spawnBounded(
  site: Site,
  command: readonly string[],
  { stdio, user, cwd = '/' }: { stdio: readonly ('pipe' | number)[]; user: number | undefined; cwd?: string },
): ChildProcess {
  const child = spawn('/bin/sh', ['-c', boundScript, 'sh', ...command], {
    cwd,
    env: {},
    stdio: maskDescriptors(stdio, site),
    ...(user === undefined ? {} : { uid: user, gid: user }),
  })
  // A process that has ended no longer reads; that is told by its end.
  child.stdin?.on('error', ignoreError)
  return child
}

/** Node's types end at the fifth descriptor. */
function pipeOf(child: ChildProcess, fd: number): unknown {
  return (child.stdio as readonly unknown[])[fd]
}

async function started(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) await once(child, 'spawn')
}

async function readFailure(child: ChildProcess): Promise<string> {
  const text = (await child.stderr!.setEncoding('utf8').toArray()).join('')
  return text.trim().slice(0, 300) || 'bubblewrap ended without a word'
}

function writeFilter(folder: string): string | undefined {
  const filter = formatSeccompFilter(process.arch)
  if (!filter || process.platform !== 'linux') return undefined
  const path = join(folder, 'filter.bpf')
  writeFileSync(path, filter)
  chmodSync(path, 0o444)
  return path
}

function ignoreError(): void {}
