import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import type { Log } from '../../../protocol/base/log.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { formatBubblewrapArgs, inside, readChildPid } from './bubblewrap.ts'
import { type Cell, createCell } from './cell.ts'
import type { Cgroup, Cgroups } from './cgroup.ts'
import { maskDescriptors } from './descriptors.ts'
import type { Executable } from './executable.ts'

export interface Command {
  readonly executable: Executable
  /** @param folder - The shared folder, by the path that the process knows it by. */
  readonly args: (folder: string) => readonly string[]
}

/** What all cells of a sandbox have in common. */
export interface Site {
  readonly folder: string
  readonly nullFd: number
  readonly log: Log
  readonly cgroups: Cgroups | undefined
  readonly inherited: readonly number[]
  readonly filterPath: string | undefined
  readonly nextUser: (() => number) | undefined
  cells: number
}

export type Launcher =
  | { readonly kind: 'bubblewrap'; readonly path: string; readonly canDisableUserNamespaces: boolean }
  /** `setpriv`, where there is one, ties the child's life to ours and forbids it new privileges. */
  | { readonly kind: 'plain'; readonly setprivPath: string | undefined }

export interface Launch extends Command {
  readonly folder: string
  readonly user: number | undefined
  readonly cgroup: Cgroup | undefined
}

/** Starts a process behind the walls that the launcher can build. */
export function launch(site: Site, launcher: Launcher, what: Launch, signal: AbortSignal): Promise<Cell> {
  return launcher.kind === 'bubblewrap'
    ? launchBubblewrap(site, launcher, what, signal)
    : launchPlain(site, launcher, what)
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

function ignoreError(): void {}
