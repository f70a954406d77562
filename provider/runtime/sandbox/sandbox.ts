import { execFile as execFileByCallback } from 'node:child_process'
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Log } from '../../../protocol/base/log.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import type { Walls } from '../runtime.ts'
import type { NativeView } from './bubblewrap.ts'
import { type Cell, cgroupLimits } from './cell.ts'
import type { Cgroup } from './cgroup.ts'
import { openCgroups } from './cgroups.ts'
import { readInheritableDescriptors } from './descriptors.ts'
import { formatEntrance } from './entrance.ts'
import { type Executable, findCommand, prepareExecutable } from './executable.ts'
import type { Gvisor } from './gvisor.ts'
import {
  type Command,
  type Launcher,
  launch,
  launchNative,
  type Place,
  type Room,
  type Site,
} from './launch.ts'
import { launchGvisor } from './launch-gvisor.ts'
import { formatLauncher } from './launcher.ts'
import { findLeftovers } from './leftovers.ts'
import { formatNativeSeccompFilter, formatSeccompFilter } from './seccomp.ts'
import { formatStdinLauncher } from './stdin-launcher.ts'
import { isSyscallArch } from './syscalls.ts'
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
  /** Starts a sandbox for a native program, which waits on `Cell.control` for what to run. @throws ProtocolError `sandbox_unavailable` */
  spawnNative(view: NativeView, signal: AbortSignal): Promise<Cell>
  /** A new folder, which goes when the sandbox goes, if not before. Everybody on the host may walk through it. */
  createFolder(): Promise<string>
  /** A user that nothing else has; undefined where there are none to give out. */
  nextUser(): number | undefined
}

export interface SandboxOptions {
  /** `process` leaves bubblewrap out, even where it works; `bare` leaves cgroups out as well. */
  readonly mode: 'auto' | 'process' | 'bare'
  /** A binary that answers `--version`: what every wall is tried with before it is relied on. */
  readonly trialPath: string
  /** Native programs run in this, and not in bubblewrap. */
  readonly gvisor?: Gvisor | undefined
}

const execFile = promisify(execFileByCallback)
const folderPrefix = 'khp-'

/** Finds out by trying which walls hold here, and builds them around everything that is spawned. */
export async function createSandbox(
  { log }: { log: Log },
  { mode, trialPath, gvisor }: SandboxOptions,
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
    filterPath: writeOpen(join(folder, 'filter.bpf'), formatSeccompFilter(process.arch)),
    nativeFilterPath: writeOpen(join(folder, 'native.bpf'), formatNativeSeccompFilter(process.arch)),
    launcherPath: isSyscallArch(process.arch)
      ? writeOpen(join(folder, 'launcher'), formatLauncher(process.arch))
      : undefined,
    stdinLauncherPath:
      gvisor && isSyscallArch(process.arch)
        ? writeOpen(join(folder, 'stdin-launcher'), formatStdinLauncher(process.arch))
        : undefined,
    entrancePath: await writeEntrance(join(folder, 'entrance')),
    nextUser: openUsers(),
    cells: 0,
    spare: undefined,
  }
  starting.defer(async () => {
    if (site.spare) await clearRoom(site.spare)
  })
  const trial = await prepareExecutable(trialPath, { folder }, signal)
  const { launcher, reasons } = await chooseLauncher(site, trial, { mode }, signal)
  // gVisor brings both by itself.
  const hasNamespaces = launcher.kind === 'bubblewrap' || gvisor !== undefined
  const parts = starting.move()
  return {
    walls: {
      namespaces: hasNamespaces,
      seccomp: hasNamespaces && site.filterPath !== undefined,
      cgroups: site.cgroups !== undefined,
      ownUser: site.nextUser !== undefined,
    },
    reasons: [
      ...(gvisor ? [] : reasons),
      ...(typeof cgroups === 'string' ? [cgroups] : []),
      ...(process.getuid?.() === 0 && !site.nextUser
        ? ['This provider is root but has no users to give out.']
        : []),
      ...(site.filterPath ? [] : [`There is no system call filter for ${process.arch}.`]),
    ],
    prepare: (path, signal) =>
      path === trialPath ? Promise.resolve(trial) : prepareExecutable(path, { folder }, signal),
    spawn: (command, signal) => spawnCell(site, launcher, command, signal),
    spawnNative: (view, signal) =>
      fillPlace(
        site,
        view.user,
        (place) =>
          gvisor
            ? launchGvisor(site, gvisor, { ...view, ...place }, signal)
            : launchNative(site, launcher, { ...view, ...place }, signal),
        signal,
      ),
    async createFolder() {
      const path = join(folder, `a${++site.cells}`)
      await mkdir(path, { mode: 0o711 })
      return path
    },
    nextUser: () => site.nextUser?.(),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

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

function spawnCell(site: Site, launcher: Launcher, command: Command, signal: AbortSignal): Promise<Cell> {
  const start = (place: Place) => launch(site, launcher, { ...command, ...place }, signal)
  return fillPlace(site, site.nextUser?.(), start, signal)
}

/**
 * Gives a process what it gets of its own, and takes it away again if none comes. What the next one gets is made while this one
 * starts: that takes this process nearly a millisecond in which it would only wait. @throws ProtocolError `sandbox_unavailable`
 */
async function fillPlace(
  site: Site,
  user: number | undefined,
  start: (place: Place) => Promise<Cell>,
  signal: AbortSignal,
): Promise<Cell> {
  signal.throwIfAborted()
  let room: Room | undefined
  try {
    room = site.spare ?? makeRoom(site)
    site.spare = undefined
    const { folder, cgroup } = room
    if (user !== undefined) chownSync(folder, user, user)
    const starting = start({ folder, user, cgroup })
    site.spare ??= tryMakeRoom(site)
    return await starting
  } catch (error) {
    if (room) await clearRoom(room)
    if (signal.aborted) throw signal.reason
    throw new ProtocolError('sandbox_unavailable', 'A sandbox could not be started on this provider.', {
      hint: 'Send the call again, or to another provider.',
      cause: error,
    })
  }
}

/** A folder and, where there are cgroups, one of its own. */
function makeRoom(site: Site): Room {
  const folder = join(site.folder, String(++site.cells))
  mkdirSync(folder, { mode: 0o700 })
  let cgroup: Cgroup | undefined
  try {
    cgroup = site.cgroups?.create()
    cgroup?.limit(cgroupLimits((limits.programMemoryMiBMax + limits.runtimeMemoryMiB) * 1024 * 1024))
    return { folder, cgroup }
  } catch (error) {
    void clearRoom({ folder, cgroup })
    throw error
  }
}

/** Whoever needs it hears why there is none. */
function tryMakeRoom(site: Site): Room | undefined {
  try {
    return makeRoom(site)
  } catch {
    return undefined
  }
}

async function clearRoom({ folder, cgroup }: Room): Promise<void> {
  rmSync(folder, { recursive: true, force: true })
  await cgroup?.remove().catch(() => undefined)
}

/** @returns undefined where it does not run: its folder may be mounted without that. */
async function writeEntrance(path: string): Promise<string | undefined> {
  if (!isSyscallArch(process.arch) || !writeOpen(path, formatEntrance(process.arch))) return undefined
  const trial = execFile(path, ['0', '--', '/bin/sh', '-c', ':'])
  return trial.then(
    () => path,
    () => undefined,
  )
}

/** A file that everybody may read and run. */
function writeOpen(path: string, bytes: Uint8Array | undefined): string | undefined {
  if (!bytes || process.platform !== 'linux') return undefined
  writeFileSync(path, bytes)
  chmodSync(path, 0o555)
  return path
}
