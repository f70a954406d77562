import { expect, test } from 'vitest'
import { type CgroupFacts, findCgroupPlace } from './cgroup-place.ts'

const v1Mounts = ['cpu,cpuacct', 'memory', 'pids', 'freezer']
  .map((name, i) => `${30 + i} 29 0:${i} / /sys/fs/cgroup/${name} rw,relatime - cgroup cgroup rw,${name}`)
  .join('\n')
const v2Mount = '40 29 0:40 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw'

const find = (facts: Partial<CgroupFacts>) =>
  findCgroupPlace({ mountInfo: '', ownCgroups: '', readControllers: () => [], ...facts })
const all = () => ['cpuset', 'cpu', 'io', 'memory', 'pids']

test('version 2 stands in our own cgroup', () => {
  const ownCgroups = '0::/system.slice/khachapuri.service'
  expect(find({ mountInfo: v2Mount, ownCgroups, readControllers: all })).toEqual({
    version: 2,
    folder: '/sys/fs/cgroup/system.slice/khachapuri.service',
    isRoot: false,
  })
})

test('the leaf that an earlier provider moved us to is not nested again', () => {
  const ownCgroups = '0::/unit/khachapuri-daemon'
  expect(find({ mountInfo: v2Mount, ownCgroups, readControllers: all })).toMatchObject({
    folder: '/sys/fs/cgroup/unit',
  })
})

test('at the root of version 2 processes need not move', () => {
  expect(find({ mountInfo: v2Mount, ownCgroups: '0::/', readControllers: all })).toEqual({
    version: 2,
    folder: '/sys/fs/cgroup',
    isRoot: true,
  })
})

test('a hybrid machine whose version 2 has no memory controller uses version 1', () => {
  const mountInfo = `${v1Mounts}\n41 29 0:41 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw`
  const ownCgroups = '4:memory:/api\n3:cpu,cpuacct:/\n2:pids:/api\n1:freezer:/\n0::/'
  expect(find({ mountInfo, ownCgroups, readControllers: () => ['hugetlb'] })).toEqual({
    version: 1,
    folders: {
      memory: '/sys/fs/cgroup/memory/api',
      pids: '/sys/fs/cgroup/pids/api',
      cpu: '/sys/fs/cgroup/cpu,cpuacct',
      cpuacct: '/sys/fs/cgroup/cpu,cpuacct',
      freezer: '/sys/fs/cgroup/freezer',
    },
  })
})

test('in a container the path counts from where the mount begins', () => {
  const mountInfo = '40 29 0:40 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw'
  const at = (path: string) => find({ mountInfo, ownCgroups: `0::${path}`, readControllers: all })
  expect(at('/docker/abc/sub')).toMatchObject({ folder: '/sys/fs/cgroup/sub' })
  expect(at('/elsewhere')).toMatchObject({ folder: '/sys/fs/cgroup', isRoot: true })
})

test('without controllers there is no place', () => {
  expect(find({})).toBeUndefined()
  expect(find({ mountInfo: v2Mount, ownCgroups: '0::/', readControllers: () => ['cpu'] })).toBeUndefined()
  expect(find({ mountInfo: v1Mounts.split('\n')[0]! })).toBeUndefined()
})
