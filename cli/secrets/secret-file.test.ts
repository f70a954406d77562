import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestUser } from '../testing.ts'
import { listSecrets, openSecrets, putSecret, removeSecret } from './secret-file.ts'

const account = privateKeyToAccount(generatePrivateKey())
const other = privateKeyToAccount(generatePrivateKey())

async function createPlace() {
  const user = await createTestUser()
  const env = { KHACHAPURI_HOME: join(user.dir, 'home') }
  const context = { env, clock: systemClock, signal: new AbortController().signal }
  return {
    context,
    path: join(env.KHACHAPURI_HOME, 'secrets', 'app.json'),
    [Symbol.asyncDispose]: () => user[Symbol.asyncDispose](),
  }
}

test('a secret comes back for its account and project only, and is not in the file', async () => {
  await using place = await createPlace()
  const { context, path } = place
  expect(await putSecret('app', { name: 'KEY', value: 'ope\nn é', account }, context)).toBe(false)
  expect(await putSecret('app', { name: 'KEY', value: 'sesame ü', account }, context)).toBe(true)
  await putSecret('app', { name: 'B', value: 'b', account: other }, context)
  expect(await openSecrets('app', account, context)).toEqual({ KEY: 'sesame ü' })
  expect(await openSecrets('app', other, context)).toEqual({ B: 'b' })
  expect(await openSecrets('another', account, context)).toEqual({})
  expect(await readFile(path, 'utf8')).not.toContain('sesame')
  expect((await stat(path)).mode & 0o777).toBe(0o600)
  expect(await listSecrets('app', account.address, context)).toMatchObject([{ name: 'KEY' }])
  expect(await removeSecret('app', { name: 'KEY', owner: account.address }, context)).toBe(true)
  expect(await removeSecret('app', { name: 'KEY', owner: account.address }, context)).toBe(false)
  expect(await openSecrets('app', account, context)).toEqual({})
})

test('secrets that are put at the same time are all kept', async () => {
  await using place = await createPlace()
  const names = Array.from({ length: 8 }, (_, index) => `KEY_${index}`)
  await Promise.all(names.map((name) => putSecret('app', { name, value: name, account }, place.context)))
  expect(Object.keys(await openSecrets('app', account, place.context)).sort()).toEqual(names)
})

test('a value that was moved to another name, account or project does not open', async () => {
  await using place = await createPlace()
  const { context, path } = place
  await putSecret('app', { name: 'KEY', value: 'sesame', account }, context)
  const text = await readFile(path, 'utf8')
  const locked = { code: 'keystore_locked' }
  await writeFile(path, text.replace('"KEY"', '"PUBLIC"'))
  await expect(openSecrets('app', account, context)).rejects.toMatchObject(locked)
  await writeFile(path, text.replace(account.address, other.address))
  await expect(openSecrets('app', other, context)).rejects.toMatchObject(locked)
  await writeFile(join(path, '..', 'second.json'), text)
  await expect(openSecrets('second', account, context)).rejects.toMatchObject(locked)
  await writeFile(path, 'no json')
  await expect(openSecrets('app', account, context)).rejects.toMatchObject({ code: 'config_invalid' })
})
