import { limits } from '../../../protocol/limits.ts'
import { inside, type NativeView } from './bubblewrap.ts'

/** gVisor's `runsc` on this machine, with the platform that works here. */
export interface Gvisor {
  readonly path: string
  readonly platform: GvisorPlatform
}

/** How gVisor takes a program's system calls: best first. `kvm` is left out: where it is there and does not work, it hangs. */
export const gvisorPlatforms = ['systrap', 'ptrace'] as const
export type GvisorPlatform = (typeof gvisorPlatforms)[number]

/** The folder of one sandbox, on the host: its bundle, and what runsc notes about it. */
export interface GvisorPlace {
  readonly folder: string
  /** Unique on this machine, as runsc names sockets by it. */
  readonly id: string
}

/** No network but its own loopback, no host sockets, and cgroups that somebody else has made. Nothing secret may stand here. */
export function formatGvisorArgs({ platform }: Gvisor, { folder, id }: GvisorPlace): string[] {
  const isRoot = process.getuid?.() === 0
  return [
    ...['--root', `${folder}/state`, `--platform=${platform}`, '--network=none', '--ignore-cgroups'],
    ...(isRoot ? [] : ['--rootless']),
    ...['run', '--bundle', folder, id],
  ]
}

/** The bundle's `config.json` (OCI runtime specification 1.0.2): the launcher, and what a native program sees beside it. */
export function formatGvisorConfig({ app, user, mounts }: NativeView): object {
  const uid = user ?? process.getuid?.() ?? 65_534
  return {
    ociVersion: '1.0.2',
    process: {
      terminal: false,
      user: { uid, gid: uid },
      args: [inside.executable],
      env: [],
      cwd: inside.app,
      capabilities: {},
      noNewPrivileges: true,
      rlimits: [
        { type: 'RLIMIT_CORE', hard: 0, soft: 0 },
        { type: 'RLIMIT_NOFILE', hard: 1024, soft: 1024 },
      ],
    },
    root: { path: 'root', readonly: true },
    hostname: 'program',
    mounts: [
      ...mounts.flatMap((mount) => {
        if (mount.kind === 'bind') return [bind(mount.from, mount.to)]
        return mount.kind === 'empty' ? [tmpfs(mount.at, ['ro', 'size=4096'])] : []
      }),
      bind(app, inside.app),
      tmpfs('/tmp', ['mode=1777', `size=${limits.nativeTmpBytesMax}`]),
    ],
    linux: { namespaces: ['pid', 'network', 'ipc', 'uts', 'mount'].map((type) => ({ type })) },
  }
}

function bind(source: string, destination: string): object {
  return { type: 'bind', source, destination, options: ['bind', 'ro', 'nosuid', 'nodev'] }
}

function tmpfs(destination: string, options: readonly string[]): object {
  return { type: 'tmpfs', source: 'tmpfs', destination, options: ['nosuid', 'nodev', ...options] }
}
