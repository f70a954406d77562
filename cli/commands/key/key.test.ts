import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createTestUser } from '../../testing.ts'

// Hardhat's first well-known account.
const key = 'ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80'
const address = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266'
const env = { KHACHAPURI_PASSWORD: 'secret words' }

test('a new key is a file that only its user can read, and is listed and shown by its address', async () => {
  await using user = await createTestUser()
  const made = (await user.run(['key', 'new', 'developer', '--json'], { env })).json()
  expect(made).toEqual({
    account: 'developer',
    address: expect.stringMatching(/^0x[0-9a-fA-F]{40}$/),
    path: join(user.dir, '.home', 'keys', 'developer.json'),
  })
  expect((await stat(made['path'] as string)).mode & 0o777).toBe(0o600)
  expect((await user.run(['key', 'list', '--json'])).json()).toEqual({ accounts: [made] })
  expect((await user.run(['key', 'show', 'developer', '--json'])).json()).toEqual(made)
})

test('an imported key is encrypted, and its digits are never said', async () => {
  await using user = await createTestUser()
  const { stdout, stderr, exitCode } = await user.run(['key', 'import', 'me'], { env, stdin: `0x${key}\n` })
  expect(exitCode).toBe(0)
  expect(stdout).toContain(`me  ${address}`)
  const file = await readFile(join(user.dir, '.home', 'keys', 'me.json'), 'utf8')
  expect(stdout + stderr + file).not.toContain(key)
})

test('a key is never overwritten', async () => {
  await using user = await createTestUser()
  await user.run(['key', 'new', 'me'], { env })
  const path = join(user.dir, '.home', 'keys', 'me.json')
  const before = await readFile(path, 'utf8')
  const again = await user.run(['key', 'import', 'me', '--json'], { env, stdin: key })
  expect(again.exitCode).toBe(1)
  expect(again.json()).toMatchObject({ code: 'config_invalid' })
  expect(await readFile(path, 'utf8')).toBe(before)
})

test('a password is typed twice, and two that differ make no key', async () => {
  await using user = await createTestUser()
  const same = await user.run(['key', 'new', 'one'], { typed: ['words', 'words'] })
  expect(same.exitCode).toBe(0)
  expect(same.stderr).toBe('Password of "one": \nThe same again: \n')
  const differs = await user.run(['key', 'new', 'two', '--json'], { typed: ['words', 'wrods'] })
  expect(differs.json()).toMatchObject({ code: 'keystore_locked' })
  expect((await user.run(['key', 'list', '--json'])).json()['accounts']).toHaveLength(1)
})

test('a password comes from a file, too, whose last line break does not count', async () => {
  await using user = await createTestUser()
  await writeFile(join(user.dir, 'password'), 'secret words\r\n')
  const file = { KHACHAPURI_PASSWORD_FILE: join(user.dir, 'password') }
  expect((await user.run(['key', 'new', 'me'], { env: file })).exitCode).toBe(0)
})

test.each([
  ['nobody to ask for a password', ['new', 'me'], {}, '', 'keystore_locked'],
  ['an empty password', ['new', 'me'], { KHACHAPURI_PASSWORD: '' }, '', 'keystore_locked'],
  ['a missing password file', ['new', 'me'], { KHACHAPURI_PASSWORD_FILE: '/nowhere' }, '', 'keystore_locked'],
  ['a path for a name', ['new', '../me'], env, '', 'usage_invalid'],
  ['a key that is too short', ['import', 'me'], env, 'abcd', 'key_missing'],
  ['a key that is no key', ['import', 'me'], env, '0'.repeat(64), 'key_missing'],
  ['a flood instead of a key', ['import', 'me'], env, 'f'.repeat(10_000), 'usage_invalid'],
  ['an account that is not there', ['show', 'me'], env, '', 'key_missing'],
])('%s is refused and nothing is written', async (_what, argv, variables, stdin, code) => {
  await using user = await createTestUser()
  const result = await user.run(['key', ...argv, '--json'], {
    env: variables as Record<string, string>,
    stdin,
  })
  expect(result.json()).toMatchObject({ code })
  expect((await user.run(['key', 'list', '--json'])).json()).toEqual({ accounts: [] })
})
