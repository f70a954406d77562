import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { linkSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Duplex, type Readable, type Writable } from 'node:stream'
import { assert } from '../../../protocol/base/assert.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { limits } from '../../../protocol/limits.ts'
import { inside, type NativeView } from './bubblewrap.ts'
import { type Cell, cgroupLimits, createCell } from './cell.ts'
import { formatGvisorArgs, formatGvisorConfig, type Gvisor } from './gvisor.ts'
import { type Place, readFailure, type Site, spawnBounded, started } from './launch.ts'
import { frameLaunch } from './stdin-launcher.ts'

/** What gVisor itself needs beside a program: memory of its kernel, and processes that stand for the program's threads. */
const overhead = {
  memoryBytes: limits.gvisorMemoryMiB * 1024 * 1024,
  pids: limits.gvisorPidsMax,
} as const

/**
 * Starts the sandbox of a native program in gVisor, up to the point where it waits for what to run, on `Cell.control`.
 * Nothing of its network can be handed over: its sockets are gVisor's own.
 *
 * @throws where the sandbox does not stand
 */
export async function launchGvisor(
  site: Site,
  gvisor: Gvisor,
  view: NativeView & Place,
  signal: AbortSignal,
): Promise<Cell> {
  const { folder, cgroup } = view
  assert(!view.hasDoors, 'gVisor hands no sockets over')
  if (!cgroup) throw new Error('gVisor needs cgroups here: nothing else ends all of its processes')
  writeBundle(site, view)
  cgroup.limit(cgroupLimits((limits.programMemoryMiBMax + limits.gvisorMemoryMiB) * 1024 * 1024, overhead))
  const id = `khachapuri-${process.pid}-${site.cells}`
  const child = spawnBounded(site, [gvisor.path, ...formatGvisorArgs(gvisor, { folder, id })], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe'],
    user: undefined,
    fileBytesMax: 'unlimited',
    waitsOn: 3,
  })
  await started(child)
  const cell = createCell({
    ...{ child, pid: child.pid!, folder, insideFolder: '/', cgroup, handover: undefined, log: site.log },
    ...{ control: createControl(child.stdin!), overhead },
  })
  try {
    await cgroup.add(child.pid!)
    ;(child.stdio[3] as Writable).on('error', () => undefined).end('\n')
    if (await raceSignal(Promise.race([stands(child), cell.exited.then(() => false)]), signal)) return cell
    throw new Error(await readFailure(child.stderr!))
  } catch (error) {
    cell.kill()
    throw error
  }
}

/** runsc reads it once; what is mounted elsewhere needs no place here. */
function writeBundle({ stdinLauncherPath }: Site, view: NativeView & Place): void {
  const root = join(view.folder, 'root')
  mkdirSync(root)
  assert(stdinLauncherPath !== undefined, 'native programs run on processors that have a launcher')
  linkSync(stdinLauncherPath, join(root, inside.executable))
  for (const mount of view.mounts) {
    if (mount.kind !== 'link') continue
    mkdirSync(dirname(join(root, mount.at)), { recursive: true })
    symlinkSync(mount.target, join(root, mount.at))
  }
  writeFileSync(join(view.folder, 'config.json'), JSON.stringify(formatGvisorConfig(view)))
}

/** Its first byte of output is not the program's. */
async function stands({ stdout }: ChildProcess): Promise<boolean> {
  const output = stdout as Readable
  while (output.read(1) === null) await once(output, 'readable')
  // From now on it flows, or does not, as whoever has the cell wants.
  output.pause()
  return true
}

/** What is written here comes first on the program's standard input, and is not for it. */
function createControl(stdin: Writable): Duplex {
  const chunks: Buffer[] = []
  return new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk)
      done()
    },
    final(done) {
      stdin.write(frameLaunch(Buffer.concat(chunks)))
      done()
    },
  })
}
