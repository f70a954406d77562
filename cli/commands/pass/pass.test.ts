import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generatePrivateKey } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createUserInMarket, type UserInMarket } from '../../market/testing-user.ts'

let at: UserInMarket
let urls: Record<'alice' | 'bob', string>
beforeAll(async () => {
  at = await createUserInMarket()
  const deployed = await run('deploy app --provider alice --provider bob --payer caller --json')
  urls = deployed.json<{ urls: typeof urls }>().urls
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string, options?: Parameters<UserInMarket['user']['run']>[1]) =>
  at.user.run(line.split(' '), options)

const both = '--account payer --provider alice --provider bob --max-price 0.001 --max-spend 0.01'
async function createPass(flags = both): Promise<{ token: string; id: string }> {
  const made = await run(`pass create ${flags} --json`)
  expect(made.exitCode).toBe(0)
  return made.json<{ token: string; id: string }>()
}
const call = (name: 'alice' | 'bob', token: string) =>
  run(`call ${urls[name]}`, { env: { KHACHAPURI_PASS: token } })
const codeOf = async (result: ReturnType<typeof run>) => /\((\w+)\)/.exec((await result).stderr)?.[1]
const list = async (flags = '') =>
  (await run(`pass list --account payer --json${flags}`)).json<{ passes: Record<string, unknown>[] }>().passes
const home = () => join(at.user.dir, '.home')

test('a pass is listed with what was spent of it, taken back by its first digits, and pays for nothing then', async () => {
  const { token, id } = await createPass()
  const other = await createPass()
  expect((await call('alice', token)).exitCode).toBe(0)
  expect((await call('alice', token)).exitCode).toBe(0)
  expect((await call('bob', token)).exitCode).toBe(0)
  const mine = (passes: Record<string, unknown>[]) => passes.filter((pass) => pass['id'] === id)
  expect(mine(await list())).toMatchObject([
    { provider: 'alice', state: 'valid', spentUsdc: '1000', maxSpendUsdc: '10000', isMadeHere: true },
    { provider: 'bob', state: 'valid', spentUsdc: '500', maxSpendUsdc: '10000', isMadeHere: true },
  ])

  const revoked = await run(`pass revoke ${id.slice(0, 14)} --account payer`)
  expect(revoked).toMatchObject({
    exitCode: 0,
    stdout: `${id.slice(0, 12)} pays for nothing at alice any more.\n${id.slice(0, 12)} pays for nothing at bob any more.\n`,
  })
  expect(await codeOf(call('alice', token))).toBe('pass_revoked')
  expect(await codeOf(call('bob', token))).toBe('pass_revoked')
  expect((await call('alice', other.token)).exitCode).toBe(0)
  expect(mine(await list())).toMatchObject([
    { provider: 'alice', state: 'revoked', spentUsdc: '1000' },
    { provider: 'bob', state: 'revoked', spentUsdc: '500' },
  ])
  // Again changes nothing.
  expect((await run(`pass revoke ${id} --account payer`)).exitCode).toBe(0)
  expect((await run('pass list --account payer')).stdout).toMatch(
    /0x\w{10} +alice +revoked +0\.001 +0\.01 +\d{4}-/,
  )
})

test('the record has no token in it, and without it a pass is found at its provider and taken back by its id', async () => {
  const { token, id } = await createPass()
  expect((await call('alice', token)).exitCode).toBe(0)
  const path = join(home(), 'passes.json')
  const text = await readFile(path, 'utf8')
  expect(text).toContain(id)
  expect(text).not.toContain('kp1.')
  for (const part of token.split('.').slice(1)) expect(text).not.toContain(part)
  await rm(path)
  expect(await list()).toEqual([])
  expect(await list(' --provider alice')).toContainEqual(
    expect.objectContaining({ id, state: 'valid', spentUsdc: '500', isMadeHere: false }),
  )
  expect((await run(`pass revoke ${id} --account payer --json`)).json()).toMatchObject({
    code: 'usage_invalid',
  })
  expect((await run(`pass revoke ${id} --account payer --provider alice`)).exitCode).toBe(0)
  expect(await codeOf(call('alice', token))).toBe('pass_revoked')
  expect((await call('bob', token)).exitCode).toBe(0)
})

test('who is not told is named, everybody else is told, and doing it again tells the rest', async () => {
  // Somebody new has a grant for nobody but alice.
  const env = { KHACHAPURI_PRIVATE_KEY: generatePrivateKey() }
  const steps = ['faucet --yes', 'deposit 1 --yes', 'approve alice --price 0.001 --budget 0.01 --yes']
  for (const line of steps) expect((await run(line, { env })).exitCode).toBe(0)
  const { client, providers } = at.market
  const blockNumber = await client.getBlockNumber({ cacheTime: 0 })
  while (providers.alice.chainStatus().blockNumber < blockNumber)
    await providers.alice.settler.settleNow(new AbortController().signal)
  const flags = both.replace('--account payer ', '')
  const { token, id } = (await run(`pass create ${flags} --json`, { env })).json<{
    token: string
    id: string
  }>()
  const result = await run(`pass revoke ${id} --json`, { env })
  expect(result.exitCode).toBe(1)
  expect(result.json()).toMatchObject({
    code: 'grant_missing',
    passes: [
      { provider: 'alice', isRevoked: true },
      { provider: 'bob', isRevoked: false, code: 'grant_missing' },
    ],
    hint: expect.stringContaining('khachapuri revoke bob'),
  })
  expect(await codeOf(call('alice', token))).toBe('pass_revoked')
  expect((await run('pass list --offline --json', { env })).json()).toMatchObject({
    passes: [
      { provider: 'alice', state: 'revoked', spentUsdc: null },
      { provider: 'bob', state: 'valid', spentUsdc: null },
    ],
  })
  expect((await run('approve bob --price 0.001 --budget 0.01 --yes', { env })).exitCode).toBe(0)
  const approvedAt = await client.getBlockNumber({ cacheTime: 0 })
  while (providers.bob.chainStatus().blockNumber < approvedAt)
    await providers.bob.settler.settleNow(new AbortController().signal)
  expect((await run(`pass revoke ${id}`, { env })).exitCode).toBe(0)
  expect(await codeOf(call('bob', token))).toBe('pass_revoked')
})

test('all passes of the account are taken back at once, and nobody else can take one back', async () => {
  const passes = [await createPass(), await createPass()]
  const stolen = await run(`pass revoke ${passes[0]?.id} --provider alice --json`)
  // The developer's own revocation of an id that is the payer's.
  expect(stolen.exitCode).toBe(0)
  expect((await call('alice', passes[0]?.token ?? '')).exitCode).toBe(0)
  expect((await run('pass revoke --all --account payer')).exitCode).toBe(0)
  for (const { token } of passes) expect(await codeOf(call('bob', token))).toBe('pass_revoked')
})

test.each([
  ['pass revoke', 'usage_invalid'],
  ['pass revoke --all 0x0011223344', 'usage_invalid'],
  ['pass revoke 0x00', 'usage_invalid'],
  ['pass revoke kp1.secret', 'usage_invalid'],
  ['pass revoke 0x0011223344', 'usage_invalid'],
])('%s is refused, and tokens are not repeated', async (line, code) => {
  const result = await run(`${line} --json`)
  expect(result.json()).toMatchObject({ code, hint: expect.any(String) })
  expect(result.stdout + result.stderr).not.toContain('secret')
})

test('records that say nonsense are refused', async () => {
  await writeFile(join(home(), 'passes.json'), '{"here":[{}]}')
  expect((await run('pass list --offline --json')).json()).toMatchObject({ code: 'config_invalid' })
  await rm(join(home(), 'passes.json'))
})
