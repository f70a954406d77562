import { execFileSync } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findCommand, prepareExecutable } from './executable.ts'
import { isMapped } from './users.ts'

const never = new AbortController().signal

test('a binary that others cannot reach is put where they can', async () => {
  await using world = await setup()
  const { path } = await prepareExecutable(world.hidden, { folder: world.open }, never)
  expect(path).toBe(join(world.open, 'true'))
  execFileSync(path)
})

test('a binary that others may not read is copied, and itself left as it is', async () => {
  await using world = await setup()
  await chmod(world.hidden, 0o700)
  const { path } = await prepareExecutable(world.hidden, { folder: world.open }, never)
  expect((await stat(path)).mode & 0o777).toBe(0o755)
  expect((await stat(world.hidden)).mode & 0o777).toBe(0o700)
})

test('a binary that all can reach stays where it is', async () => {
  await using world = await setup()
  await chmod(world.closed, 0o755)
  const { path } = await prepareExecutable(world.hidden, { folder: world.open }, never)
  expect(path).toBe(world.hidden)
})

test.skipIf(process.platform !== 'linux')(
  'the libraries of a binary are named by its own loader',
  async () => {
    await using world = await setup()
    const { libraries } = await prepareExecutable(process.execPath, { folder: world.open }, never)
    expect(libraries.some((path) => /\/libc\.so|musl/.test(path))).toBe(true)
    for (const path of libraries) expect(path).toMatch(/^\//)
  },
)

test('a command that is nowhere is not found', async () => {
  expect(await findCommand('sh')).toMatch(/\/sh$/)
  expect(await findCommand('no-such-command-anywhere')).toBeUndefined()
})

test('users are given out only where the machine maps them', () => {
  expect(isMapped('         0          0 4294967295', 1_200_000)).toBe(true)
  expect(isMapped('         0     100000      65536', 1_200_000)).toBe(false)
  expect(isMapped('      1000       1000          1', 1_200_000)).toBe(false)
})

async function setup() {
  const folder = await mkdtemp(join(tmpdir(), 'executable-'))
  await chmod(folder, 0o755)
  const [closed, open] = [join(folder, 'closed'), join(folder, 'open')]
  await mkdir(closed, { mode: 0o700 })
  await mkdir(open)
  const hidden = join(closed, 'true')
  await copyFile((await findCommand('true'))!, hidden)
  return { closed, open, hidden, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
}
