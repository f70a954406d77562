import type { Executable } from './executable.ts'

export interface BubblewrapOptions {
  readonly executable: Executable
  readonly args: readonly string[]
  /** The host folder that the program sees as `/run/w`, the one place that it shares with its provider. */
  readonly folder: string
  /** Descriptors: the filter, where bubblewrap writes the process id, and what it waits for before it starts. */
  readonly seccompFd: number | undefined
  readonly infoFd: number
  readonly blockFd: number
  /** Whether this bubblewrap knows `--disable-userns` (0.8 and newer). */
  readonly canDisableUserNamespaces: boolean
}

/** Where things are inside the sandbox. */
export const inside = { executable: '/runtime', folder: '/run/w' } as const

/**
 * The command line of bubblewrap: new namespaces of every kind, hence no network and no other process in sight; a
 * root that holds one binary, its libraries, a few devices and `/run/w`; no `/proc`; no capability; no environment.
 *
 * Nothing secret may stand here: command lines are public on the host.
 */
export function formatBubblewrapArgs(options: BubblewrapOptions): string[] {
  const { executable, folder, seccompFd } = options
  return [
    ...['--unshare-all', '--unshare-user'],
    ...(options.canDisableUserNamespaces ? ['--disable-userns'] : []),
    ...['--die-with-parent', '--new-session', '--clearenv', '--cap-drop', 'ALL'],
    // With --as-pid-1 there is no helper inside, which the filter would have to make room for.
    ...['--uid', '65534', '--gid', '65534', '--as-pid-1', '--hostname', 'program'],
    ...['--ro-bind', executable.path, inside.executable],
    ...executable.libraries.flatMap((library) => ['--ro-bind', library, library]),
    // /dev is a tmpfs without a bound, so it is closed for writing.
    ...['--dev', '/dev', '--remount-ro', '/dev'],
    ...['--bind', folder, inside.folder, '--chdir', '/', '--remount-ro', '/'],
    ...(seccompFd === undefined ? [] : ['--seccomp', String(seccompFd)]),
    ...['--info-fd', String(options.infoFd), '--block-fd', String(options.blockFd)],
    ...['--', inside.executable, ...options.args],
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
