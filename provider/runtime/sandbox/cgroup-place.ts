import { join, relative } from 'node:path'

/** Where this process stands in the machine's cgroups. */
export type CgroupPlace =
  | { readonly version: 1; readonly folders: Readonly<Record<V1Controller, string>> }
  | { readonly version: 2; readonly folder: string; readonly isRoot: boolean }

export type V1Controller = 'memory' | 'pids' | 'cpu' | 'cpuacct' | 'freezer'

/** What an earlier provider in this cgroup made so that processes are in leaves only, as version 2 wants it. */
export const daemonLeaf = 'khachapuri-daemon'

const v1Controllers: readonly V1Controller[] = ['memory', 'pids', 'cpu', 'cpuacct', 'freezer']

export interface CgroupFacts {
  /** /proc/self/mountinfo */
  readonly mountInfo: string
  /** /proc/self/cgroup */
  readonly ownCgroups: string
  readonly readControllers: (folder: string) => readonly string[]
}

/**
 * Picks version 2 where it has the controllers that limits need, else version 1: a hybrid machine mounts both, and
 * gives each controller to one of them.
 */
export function findCgroupPlace(facts: CgroupFacts): CgroupPlace | undefined {
  const mounts = facts.mountInfo.split('\n').flatMap(parseMount)
  const own = new Map(facts.ownCgroups.split('\n').flatMap(parseOwnCgroup))
  return findV2(mounts, own, facts.readControllers) ?? findV1(mounts, own)
}

function findV2(
  mounts: readonly Mount[],
  own: ReadonlyMap<string, string>,
  readControllers: CgroupFacts['readControllers'],
): CgroupPlace | undefined {
  const mount = mounts.find(({ type }) => type === 'cgroup2')
  const path = own.get('')
  if (!mount || path === undefined) return undefined
  const leaf = locate(mount, path)
  const folder = leaf.endsWith(`/${daemonLeaf}`) ? leaf.slice(0, -daemonLeaf.length - 1) : leaf
  const controllers = readControllers(folder)
  if (!['memory', 'pids'].every((name) => controllers.includes(name))) return undefined
  return { version: 2, folder, isRoot: folder === mount.path }
}

function findV1(mounts: readonly Mount[], own: ReadonlyMap<string, string>): CgroupPlace | undefined {
  const found = v1Controllers.flatMap((controller) => {
    const mount = mounts.find(({ type, options }) => type === 'cgroup' && options.includes(controller))
    return mount ? [[controller, locate(mount, own.get(controller) ?? '/')] as const] : []
  })
  if (found.length < v1Controllers.length) return undefined
  return { version: 1, folders: Object.fromEntries(found) as Record<V1Controller, string> }
}

/** In a container the mount may begin below the root that /proc/self/cgroup counts from. */
function locate(mount: Mount, path: string): string {
  const below = relative(mount.root, path)
  return below.startsWith('..') ? mount.path : join(mount.path, below)
}

interface Mount {
  readonly root: string
  readonly path: string
  readonly type: string
  readonly options: readonly string[]
}

function parseMount(line: string): Mount[] {
  const [before = '', after = ''] = line.split(' - ')
  const [, , , root, path] = before.split(' ')
  const [type, , options = ''] = after.split(' ')
  return root && path && type ? [{ root, path, type, options: options.split(',') }] : []
}

/** One entry per controller; version 2 has the empty name. */
function parseOwnCgroup(line: string): [string, string][] {
  const [, controllers, path] = /^\d+:([^:]*):(.*)$/.exec(line) ?? []
  if (controllers === undefined || path === undefined) return []
  return controllers.split(',').map((name) => [name, path])
}
