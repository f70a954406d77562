import { readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cgroup } from './cgroup.ts'
import { type CgroupPlace, findCgroupPlace } from './cgroup-place.ts'
import { createCgroupV1, prepareCgroupsV1 } from './cgroup-v1.ts'
import { createCgroupV2, prepareCgroupsV2 } from './cgroup-v2.ts'
import { tryRead } from './files.ts'
import { findLeftovers } from './leftovers.ts'

export interface Cgroups extends AsyncDisposable {
  readonly version: 1 | 2
  create(): Cgroup
}

const folderPrefix = 'khachapuri-'

/**
 * Finds out whether this process may make cgroups with memory and process limits, below its own so that whatever
 * bounds the provider bounds its programs too.
 *
 * @returns the reason in words where it may not.
 */
export async function openCgroups(): Promise<Cgroups | string> {
  const place = findCgroupPlace({
    mountInfo: tryRead('/proc/self/mountinfo') ?? '',
    ownCgroups: tryRead('/proc/self/cgroup') ?? '',
    readControllers: (folder) => (tryRead(join(folder, 'cgroup.controllers')) ?? '').split(' '),
  })
  if (!place) return 'This machine offers no cgroups with memory and pids controllers.'

  const name = `${folderPrefix}${process.pid}-${Math.random().toString(36).slice(2, 8)}`
  try {
    await removeLeftovers(place)
    if (place.version === 1) prepareCgroupsV1(place, name)
    else prepareCgroupsV2(place, name)
  } catch (error) {
    return `Cgroups cannot be made here: ${error instanceof Error ? error.message : String(error)}`
  }

  let made = 0
  return {
    version: place.version,
    create: () => {
      const path = `${name}/${++made}`
      return place.version === 1 ? createCgroupV1(place, path) : createCgroupV2(place, path)
    },
    async [Symbol.asyncDispose]() {
      for (const folder of foldersOf(place)) await rmdir(join(folder, name)).catch(() => undefined)
    },
  }
}

function foldersOf(place: CgroupPlace): readonly string[] {
  return place.version === 1 ? Object.values(place.folders) : [place.folder]
}

/** Empty cgroups of providers that were killed; `rmdir` refuses what still has processes, so nothing alive is lost. */
async function removeLeftovers(place: CgroupPlace): Promise<void> {
  for (const folder of foldersOf(place)) {
    for (const name of await findLeftovers(folder, folderPrefix)) {
      const children = await readdir(join(folder, name)).catch(() => [])
      for (const child of children) await rmdir(join(folder, name, child)).catch(() => undefined)
      await rmdir(join(folder, name)).catch(() => undefined)
    }
  }
}
