import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import type { Log } from '../../../protocol/base/log.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { limits } from '../../../protocol/limits.ts'
import {
  type BubblewrapPlumbing,
  formatBubblewrapArgs,
  formatNativeBubblewrapArgs,
  inside,
  type NativeView,
  readChildPid,
} from './bubblewrap.ts'
import { type Cell, createCell } from './cell.ts'
import type { Cgroup } from './cgroup.ts'
import type { Cgroups } from './cgroups.ts'
import { maskDescriptors } from './descriptors.ts'
import type { Executable } from './executable.ts'
import { createHandover } from './handover.ts'

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
  /** Of native programs: their filter, and what runs in their sandboxes first. */
  readonly nativeFilterPath: string | undefined
  readonly launcherPath: string | undefined
  readonly stdinLauncherPath: string | undefined
  /** What takes the place of a shell where it runs. */
  readonly entrancePath: string | undefined
  readonly nextUser: (() => number) | undefined
  cells: number
  /** For the next cell. */
  spare: Room | undefined
}

export type Launcher =
  | { readonly kind: 'bubblewrap'; readonly path: string; readonly canDisableUserNamespaces: boolean }
  /** `setpriv`, where there is one, ties the child's life to ours and forbids it new privileges. */
  | { readonly kind: 'plain'; readonly setprivPath: string | undefined }

/** What can be made before a process is wanted. */
export interface Room {
  readonly folder: string
  readonly cgroup: Cgroup | undefined
}

/** What a new process gets of its own. */
export interface Place extends Room {
  readonly user: number | undefined
}

export interface Launch extends Command, Place {}

/** Starts a process behind the walls that the launcher can build. */
export function launch(site: Site, launcher: Launcher, what: Launch, signal: AbortSignal): Promise<Cell> {
  return launcher.kind === 'bubblewrap'
    ? launchBubblewrap(site, launcher, what, signal)
    : launchPlain(site, launcher, what)
}

function launchBubblewrap(
  site: Site,
  launcher: Bubblewrap,
  { executable, args, ...place }: Launch,
  signal: AbortSignal,
): Promise<Cell> {
  const { folder } = place
  const format = (plumbing: BubblewrapPlumbing) =>
    formatBubblewrapArgs({ executable, args: args(inside.folder), folder }, plumbing)
  return spawnBubblewrap(
    site,
    launcher,
    { ...place, filterPath: site.filterPath, fileBytesMax: 0, format },
    signal,
  )
}

/**
 * Starts the sandbox of a native program up to the point where it waits for what to run, on `Cell.control`.
 *
 * @throws where this machine has no bubblewrap, or the sandbox does not stand
 */
export async function launchNative(
  site: Site,
  launcher: Launcher,
  view: NativeView & Place,
  signal: AbortSignal,
): Promise<Cell> {
  const { launcherPath, nativeFilterPath } = site
  if (launcher.kind !== 'bubblewrap' || !launcherPath || !nativeFilterPath)
    throw new Error('native programs need bubblewrap')
  const format = (plumbing: BubblewrapPlumbing) =>
    formatNativeBubblewrapArgs({ ...view, launcherPath }, plumbing)
  const fileBytesMax = limits.nativeTmpBytesMax
  const cell = await spawnBubblewrap(
    site,
    launcher,
    { ...view, filterPath: nativeFilterPath, fileBytesMax, format },
    signal,
  )
  try {
    const stands = once(cell.control, 'data').then(() => true)
    if (await raceSignal(Promise.race([stands, cell.exited.then(() => false)]), signal)) return cell
    throw new Error(await readFailure(cell.stderr))
  } catch (error) {
    cell.kill()
    throw error
  }
}

type Bubblewrap = Extract<Launcher, { kind: 'bubblewrap' }>

interface Boxed extends Place {
  readonly filterPath: string | undefined
  readonly fileBytesMax: number
  readonly hasDoors?: boolean
  readonly format: (plumbing: BubblewrapPlumbing) => readonly string[]
}

async function spawnBubblewrap(
  site: Site,
  { path, canDisableUserNamespaces }: Bubblewrap,
  { filterPath, fileBytesMax, hasDoors, format, folder, user, cgroup }: Boxed,
  signal: AbortSignal,
): Promise<Cell> {
  const entrances = cgroup?.entrances(user) ?? []
  const filterFd = filterPath === undefined ? undefined : openSync(filterPath, 'r')
  const seccompFd = filterFd === undefined ? undefined : 4
  const args = format({ seccompFd, infoFd: 5, blockFd: 6, canDisableUserNamespaces })
  const pipes = ['pipe', 'pipe', 'pipe', 'pipe', filterFd ?? site.nullFd, 'pipe', 'pipe'] as const
  const stdio = hasDoors ? [...pipes, 'ipc' as const] : pipes
  let child: ChildProcess
  try {
    child = spawnBounded(site, [path, ...args], { stdio, user, fileBytesMax, entrances })
  } finally {
    if (filterFd !== undefined) closeSync(filterFd)
  }
  let cell: Cell | undefined
  try {
    await started(child)
    // Whoever gives up waits for this: the process inside would wait for ever for a bubblewrap that was ended now.
    const pid = await readChildPid(pipeOf(child, 5) as Readable)
    if (pid === undefined) throw new Error(await readFailure(child.stderr!))
    if (cgroup && entrances.length === 0) {
      // The program does not run yet: nothing that it does can escape being counted.
      await cgroup.add(child.pid!)
      await cgroup.add(pid)
    }
    const handover = hasDoors ? createHandover(child) : undefined
    cell = createCell({ child, pid, folder, insideFolder: inside.folder, cgroup, handover, log: site.log })
    signal.throwIfAborted()
    const block = pipeOf(child, 6) as Writable
    block.on('error', ignoreError).end('1')
    return cell
  } catch (error) {
    if (cell) cell.kill()
    else child.kill('SIGKILL')
    throw error
  }
}

async function launchPlain(
  site: Site,
  { setprivPath }: Extract<Launcher, { kind: 'plain' }>,
  { executable, args, folder, user, cgroup }: Launch,
): Promise<Cell> {
  const guard = setprivPath ? [setprivPath, '--no-new-privs', '--pdeathsig', 'KILL', '--'] : []
  const entrances = cgroup?.entrances(user) ?? []
  const child = spawnBounded(site, [...guard, executable.path, ...args(folder)], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    user,
    fileBytesMax: 0,
    cwd: folder,
    entrances,
  })
  await started(child)
  try {
    if (entrances.length === 0) await cgroup?.add(child.pid!)
  } catch (error) {
    child.kill('SIGKILL')
    throw error
  }
  const pid = child.pid!
  return createCell({ child, pid, folder, insideFolder: folder, cgroup, handover: undefined, log: site.log })
}

/**
 * What `entrance.ts` does, for whom it does not run. Enters its cgroups, up to `--`, or ends. Then no core dumps (they would hold secrets), small files or none, few
 * descriptors; the command is never read as shell.
 */
const boundScript = `
blocks=$1; shift
while [ "$1" != -- ]; do echo 0 >"$1" || exit; shift; done; shift
ulimit -c 0; ulimit -f "$blocks"; ulimit -n 1024
exec "$@"`
/** The same, once a line has come on descriptor 3. */
const waitScript = `read -r line <&3; exec 3<&-; ${boundScript}`

interface SpawnOptions {
  readonly stdio: readonly ('pipe' | 'ipc' | number)[]
  readonly user: number | undefined
  readonly fileBytesMax: number | 'unlimited'
  readonly cwd?: string
  /** Of the cgroup that it is born in, see `Cgroup`. */
  readonly entrances?: readonly string[]
  /** Where a line must come before the command runs. */
  readonly waitsOn?: 3 | undefined
}

export function spawnBounded(
  site: Site,
  command: readonly string[],
  { stdio, user, fileBytesMax, cwd = '/', entrances = [], waitsOn }: SpawnOptions,
): ChildProcess {
  const what = [...entrances, '--', ...command]
  const [path, args] =
    site.entrancePath && waitsOn === undefined && fileBytesMax !== 'unlimited'
      ? [site.entrancePath, [String(fileBytesMax), ...what]]
      : ['/bin/sh', [...formatScript({ fileBytesMax, waitsOn }), ...what]]
  const child = spawn(path, args, {
    cwd,
    env: {},
    // Ctrl-C goes to all processes of a terminal's group: out of it, a call that is under way can end.
    detached: true,
    stdio: maskDescriptors(stdio, site),
    ...(user === undefined ? {} : { uid: user, gid: user }),
  })
  // A process that has ended no longer reads; that is told by its end.
  child.stdin?.on('error', ignoreError)
  return child
}

function formatScript({ fileBytesMax, waitsOn }: Pick<SpawnOptions, 'fileBytesMax' | 'waitsOn'>): string[] {
  const blocks = fileBytesMax === 'unlimited' ? fileBytesMax : String(fileBytesMax / 512)
  return ['-c', waitsOn === undefined ? boundScript : waitScript, 'sh', blocks]
}

/** Node's types end at the fifth descriptor. */
function pipeOf(child: ChildProcess, fd: number): unknown {
  return (child.stdio as readonly unknown[])[fd]
}

export async function started(child: ChildProcess): Promise<void> {
  if (child.pid === undefined) await once(child, 'spawn')
}

export async function readFailure(stderr: Readable): Promise<string> {
  const text = (await stderr.setEncoding('utf8').toArray()).join('')
  return text.trim().slice(0, 300) || 'bubblewrap ended without a word'
}

function ignoreError(): void {}
