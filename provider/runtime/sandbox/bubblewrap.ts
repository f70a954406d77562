import { KiB } from '../../../protocol/base/bytes.ts'
import { limits } from '../../../protocol/limits.ts'
import type { Executable } from './executable.ts'
import { formatBubblewrapMount, type NativeMount } from './native-mount.ts'

export interface BubblewrapOptions {
  readonly executable: Executable
  readonly args: readonly string[]
  /** The host folder that the program sees as `/run/w`, the one place that it shares with its provider. */
  readonly folder: string
}

/** What every bubblewrap is told. */
export interface BubblewrapPlumbing {
  /** Descriptors: the filter, where bubblewrap writes the process id, and what it waits for before it starts. */
  readonly seccompFd: number | undefined
  readonly infoFd: number
  readonly blockFd: number
  /** Whether this bubblewrap knows `--disable-userns` (0.8 and newer). */
  readonly canDisableUserNamespaces: boolean
}

/** Where things are inside the sandbox. */
export const inside = { executable: '/runtime', folder: '/run/w', app: '/app' } as const

/**
 * The command line of bubblewrap: new namespaces of every kind, hence no network and no other process in sight; a
 * root that holds one binary, its libraries, a few devices and `/run/w`; no `/proc`; no capability; no environment.
 *
 * Nothing secret may stand here: command lines are public on the host.
 */
export function formatBubblewrapArgs(options: BubblewrapOptions, plumbing: BubblewrapPlumbing): string[] {
  const { executable, folder } = options
  return [
    ...formatWalls(plumbing),
    // With --as-pid-1 there is no helper inside, which the filter would have to make room for.
    '--as-pid-1',
    ...['--ro-bind', executable.path, inside.executable],
    ...executable.libraries.flatMap((library) => ['--ro-bind', library, library]),
    // /dev is a tmpfs without a bound, so it is closed for writing.
    ...['--dev', '/dev', '--remount-ro', '/dev'],
    ...['--bind', folder, inside.folder, '--chdir', '/', '--remount-ro', '/'],
    ...['--', inside.executable, ...options.args],
  ]
}

/** What a native program sees of this machine. */
export interface NativeView {
  /** The host folder with the program's files, which it sees as `/app`, its working directory. */
  readonly app: string
  /** The host's user that it runs as; undefined where there are none to give out. */
  readonly user: number | undefined
  /** Whether sockets of its own network are handed over. */
  readonly hasDoors: boolean
  /** What else of the host it can read. */
  readonly mounts: readonly NativeMount[]
}

/**
 * The command line for a native program: as above, but with a `/tmp` in memory, and under a process of bubblewrap's
 * that takes in orphans; what it runs waits for the program (`launcher.ts`).
 */
export function formatNativeBubblewrapArgs(
  { app, mounts, launcherPath }: NativeView & { launcherPath: string },
  plumbing: BubblewrapPlumbing,
): string[] {
  return [
    ...formatWalls(plumbing),
    ...mounts.flatMap(formatBubblewrapMount),
    ...['--ro-bind', launcherPath, inside.executable, '--ro-bind', app, inside.app],
    ...['--dev', '/dev', '--remount-ro', '/dev'],
    ...['--perms', '1777', '--size', String(limits.nativeTmpBytesMax), '--tmpfs', '/tmp'],
    // Room for a socket. It is not the host's disk, and vanishes with the sandbox.
    ...['--perms', '0777', '--size', String(16 * KiB), '--tmpfs', inside.folder],
    ...['--chdir', inside.app, '--remount-ro', '/', '--', inside.executable],
  ]
}

function formatWalls({ seccompFd, ...plumbing }: BubblewrapPlumbing): string[] {
  return [
    ...['--unshare-all', '--unshare-user'],
    ...(plumbing.canDisableUserNamespaces ? ['--disable-userns'] : []),
    ...['--die-with-parent', '--new-session', '--clearenv', '--cap-drop', 'ALL'],
    ...['--uid', '65534', '--gid', '65534', '--hostname', 'program'],
    ...(seccompFd === undefined ? [] : ['--seccomp', String(seccompFd)]),
    ...['--info-fd', String(plumbing.infoFd), '--block-fd', String(plumbing.blockFd)],
  ]
}

/** Reads the process id of the program from what bubblewrap writes to `--info-fd`; it may come in pieces. */
export async function readChildPid(info: AsyncIterable<Buffer>): Promise<number | undefined> {
  let text = ''
  for await (const chunk of info) {
    text += chunk.toString('latin1')
    const pid = /"child-pid"\s*:\s*(\d+)/.exec(text)?.[1]
    if (pid && text.includes('}')) return Number(pid)
  }
  return undefined
}
