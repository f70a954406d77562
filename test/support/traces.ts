import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What this process's programs could leave on this machine, whoever their parent is by then. */
export function countTraces() {
  return {
    processes: ownProcesses(),
    mounts: readText('/proc/self/mountinfo').split('\n').length,
    folders: ownFolders(),
    cgroups: findCgroups(),
    // Of the files that this process has open, those that no library opens and closes as it likes.
    handles: readdirSync('/proc/self/fd').filter((fd) => isPathHandle(fd)).length,
    sockets: countSockets(),
  }
}

/** The same once it is as before, or has had time to be: what was in a sandbox dies a moment after it. */
export async function countTracesLeft(before: ReturnType<typeof countTraces>) {
  const wanted = JSON.stringify(before)
  let left = countTraces()
  for (let looks = 0; looks < 1_000 && JSON.stringify(left) !== wanted; looks++) {
    await new Promise((resolve) => setImmediate(resolve))
    left = countTraces()
  }
  return left
}

/** Sandboxes name our folder on their command line; what runs in them is in our cgroups, or a child of theirs. */
export function ownProcesses(): string[] {
  const below = descendants()
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => [pid, readText(`/proc/${pid}/cmdline`), readText(`/proc/${pid}/cgroup`)] as const)
    .filter(
      ([pid, commandLine, cgroup]) =>
        commandLine.includes(`khp-${process.pid}-`) ||
        cgroup.includes(`khachapuri-${process.pid}-`) ||
        (commandLine.startsWith('/app/') && below.includes(Number(pid))),
    )
    .map(([pid, commandLine]) => `${pid} ${commandLine}`)
}

/** Sockets of this process, and what has a name in a folder of ours. */
function countSockets(): { open: number; named: number } {
  const open = readdirSync('/proc/self/fd').filter((fd) =>
    readLink(`/proc/self/fd/${fd}`).startsWith('socket:'),
  )
  const named = readText('/proc/net/unix')
    .split('\n')
    .filter((line) => line.includes(`khp-${process.pid}-`))
  return { open: open.length, named: named.length }
}

function readLink(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

function isPathHandle(fd: string): boolean {
  return readText(`/proc/self/fdinfo/${fd}`).includes('flags:\t012')
}

export const ownFolders = () =>
  readdirSync(tmpdir())
    .filter((name) => name.startsWith(`khp-${process.pid}-`))
    .map((name) => join(tmpdir(), name))

function findCgroups(): string[] {
  const own = readText('/proc/self/cgroup').split('\n')
  const folders = own.flatMap((line) => {
    const [, controllers, path] = line.split(':')
    if (path === undefined) return []
    return [join('/sys/fs/cgroup', controllers ?? '', path)]
  })
  return folders.flatMap((folder) => {
    try {
      return readdirSync(folder).filter((name) => name.startsWith(`khachapuri-${process.pid}-`))
    } catch {
      return []
    }
  })
}

/** The processes below this one. */
export function descendants(): number[] {
  const parents = new Map<number, number>()
  for (const name of readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
    const fields = readText(`/proc/${name}/stat`)
      .replace(/^.*\) /s, '')
      .split(' ')
    parents.set(Number(name), Number(fields[1]))
  }
  const isOurs = (pid: number): boolean => {
    const parent = parents.get(pid)
    return parent !== undefined && (parent === process.pid || isOurs(parent))
  }
  return [...parents.keys()].filter(isOurs)
}

/** A file of the kernel, if it is still there. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
