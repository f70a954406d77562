import { afterAll, beforeAll, expect, test } from 'vitest'
import { escrowCalls } from '../../../protocol/chain/calls.ts'
import { createTestMarket, type TestMarket } from '../../market/testing-market.ts'
import type { CliResult, RunOptions } from '../../testing.ts'

// The developer provides here, too: credits need no name. One chain for all: each test works with what is there.
let at: TestMarket
beforeAll(async () => {
  at = await createTestMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string, options?: RunOptions): Promise<CliResult> => at.user.run(line.split(' '), options)
const nonceNow = () => at.client.getTransactionCount({ address: at.developer.address })
const signal = new AbortController().signal

function steady(text: string): string {
  return text
    .replaceAll(at.developer.address, '<developer>')
    .replaceAll(at.alice.address, '<alice>')
    .replace(/0x[0-9a-f]{64}/g, '<hash>')
    .replace(/127\.0\.0\.1:\d+/g, '<rpc>')
}

test('nothing was given yet', async () => {
  const { exitCode, stdout } = await run('credits list')
  expect([exitCode, steady(stdout)]).toEqual([0, '<developer> has given and received no trial calls.\n'])
})

test('credits are shown, confirmed, given and told', async () => {
  const { exitCode, stdout, stderr } = await run(`credits grant ${at.alice.address} 5`, { typed: ['y'] })
  expect(exitCode).toBe(0)
  expect(steady(stderr)).toMatchInlineSnapshot(`
    "Give <alice> 5 trial calls:
      user            <alice>
      granted so far  0, of which 0 are used
      account         <developer>
      chain           31337 at http://<rpc>
      transactions    give <alice> 5 trial calls
    Go ahead? [y/N] Sent: give <alice> 5 trial calls (<hash>)
    "
  `)
  expect(steady(stdout)).toMatchInlineSnapshot(`
    "<alice> has 5 trial calls left of 5.
    "
  `)
})

test('granting again adds up, and a script gets numbers', async () => {
  const { exitCode, json } = await run(`credits grant ${at.alice.address} 1 --yes --json`)
  expect(exitCode).toBe(0)
  expect(json()).toEqual({
    provider: at.developer.address,
    user: at.alice.address,
    calls: 1,
    granted: 6,
    used: 0,
    transactions: [expect.stringMatching(/^0x[0-9a-f]{64}$/)],
  })
})

test('without a yes nothing happens, and a dry run needs none', async () => {
  const nonce = await nonceNow()
  const unasked = await run(`credits grant ${at.alice.address} 5`)
  expect([unasked.exitCode, unasked.stderr]).toEqual([1, expect.stringContaining('(not_confirmed)')])
  const dry = await run(`credits grant ${at.alice.address} 5 --dry-run --json`)
  expect([dry.exitCode, dry.json()]).toMatchObject([
    0,
    { dryRun: true, calls: 5, steps: [expect.any(String)] },
  ])
  expect(await nonceNow()).toBe(nonce)
})

test('both sides see what was given and what the chain has counted', async () => {
  // Alice gives the developer some, and has two of them counted.
  const calls = escrowCalls(at.contracts.escrow)
  await at.aliceSender.run(calls.grantCredits(at.developer.address, 3), signal)
  await at.aliceSender.run(calls.useCredits([{ user: at.developer.address, calls: 2 }]), signal)
  const { stdout } = await run('credits list')
  expect(steady(stdout).replace(/ +/g, ' ')).toMatchInlineSnapshot(`
    "Given to granted used
    <alice> 6 0
    Given by granted used
    <alice> 3 2
    "
  `)
  const ofDeveloper = (await run('credits list --json')).json()
  const given = [{ provider: at.developer.address, user: at.alice.address, granted: 6, used: 0 }]
  const received = [{ provider: at.alice.address, user: at.developer.address, granted: 3, used: 2 }]
  expect(ofDeveloper).toEqual({ account: at.developer.address, given, received })
  const ofAlice = (await run(`credits list ${at.alice.address} --json`)).json()
  expect(ofAlice).toEqual({ account: at.alice.address, given: received, received: given })
})

test('a pass of who has trial calls and no grant is no mistake', async () => {
  const { stderr } = await run('pass create --provider alice --max-price 0 --max-spend 0')
  expect(steady(stderr)).toContain('alice gave <developer> 3 trial calls')
  expect(stderr).not.toContain('Warning')
})

test('nothing of it can be withdrawn, by nobody', async () => {
  const withdrawn = await run('withdraw 0.000001 --yes --json')
  expect([withdrawn.exitCode, withdrawn.json()]).toMatchObject([1, { code: 'balance_too_low' }])
  expect((await run('balance --json')).json()).toMatchObject({ balanceUsdc: '0' })
})

test.each([
  ['credits grant developer 0', 2, 'usage_invalid'],
  ['credits grant developer 1000001', 2, 'usage_invalid'],
  ['credits grant developer -1', 2, 'usage_invalid'],
  ['credits grant developer 1.5', 2, 'usage_invalid'],
  ['credits grant developer five', 2, 'usage_invalid'],
  ['credits grant developer', 2, 'usage_invalid'],
  ['credits grant 0x1234 5', 2, 'usage_invalid'],
  ['credits grant nobody 5 --yes', 1, 'key_missing'],
  ['credits grant developer 5 --account nobody --yes', 1, 'key_missing'],
  ['credits list --from-block x', 2, 'usage_invalid'],
  ['credits list nobody', 1, 'key_missing'],
])('%s is refused', async (line, exitCode, code) => {
  const nonce = await nonceNow()
  const result = await run(`${line} --json`)
  expect([result.exitCode, result.json()]).toMatchObject([exitCode, { code, hint: expect.any(String) }])
  expect(await nonceNow()).toBe(nonce)
})
