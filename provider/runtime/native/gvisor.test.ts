import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { formatGvisorArgs, formatGvisorConfig } from '../sandbox/gvisor.ts'
import { findGvisor } from './find-gvisor.ts'

const never = new AbortController().signal

test('gVisor that is not installed is named, with what to install', async () => {
  const empty = await mkdtemp(`${tmpdir()}/khachapuri-gvisor-`)
  await expect(findGvisor(never, empty)).rejects.toMatchObject({
    code: 'sandbox_unavailable',
    message: expect.stringContaining('runsc is not installed'),
    hint: expect.stringContaining('apt-get install runsc'),
  })
  await rm(empty, { recursive: true })
})

test('a sandbox of gVisor has no network of the host and nothing to write to but its /tmp', () => {
  const args = formatGvisorArgs({ path: 'runsc', platform: 'ptrace' }, { folder: '/f', id: 'one' })
  expect(args).toEqual(expect.arrayContaining(['--network=none', '--platform=ptrace', '--root', '/f/state']))
  expect(args.slice(-4)).toEqual(['run', '--bundle', '/f', 'one'])

  const mounts = [
    { kind: 'bind', from: '/usr', to: '/usr' },
    { kind: 'empty', at: '/usr/local' },
    { kind: 'link', target: 'usr/lib', at: '/lib' },
  ] as const
  const config = JSON.parse(
    JSON.stringify(formatGvisorConfig({ app: '/host/app', user: 200_001, mounts, hasDoors: false })),
  )
  expect(config.process).toMatchObject({
    ...{ user: { uid: 200_001, gid: 200_001 }, cwd: '/app', args: ['/runtime'], env: [], capabilities: {} },
    noNewPrivileges: true,
  })
  expect(config.root).toEqual({ path: 'root', readonly: true })
  const seen = config.mounts.map(({ destination, options }: { destination: string; options: string[] }) => [
    destination,
    options.includes('ro'),
  ])
  // A link is no mount.
  expect(seen).toEqual([
    ['/usr', true],
    ['/usr/local', true],
    ['/app', true],
    ['/tmp', false],
  ])
})
