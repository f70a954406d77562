import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resolverCalls } from '../../protocol/chain/calls.ts'
import { readBalance } from '../../protocol/chain/escrow.ts'
import { verifyPass } from '../../protocol/pass.ts'
import { createTestMarket, type TestMarket } from '../market/testing-market.ts'
import { type CliResult, createTestUser, type RunOptions } from '../testing.ts'

// One chain for all: each test works with what is there, and says so.
let at: TestMarket
beforeAll(async () => {
  at = await createTestMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string, options?: RunOptions): Promise<CliResult> => at.user.run(line.split(' '), options)
const free = () => {
  const { escrow } = at.contracts
  return readBalance(at.client, { escrow, account: at.developer.address }, AbortSignal.timeout(60_000))
}

/** What differs from run to run: addresses, hashes, ports, times. */
function steady(text: string): string {
  return text
    .replaceAll(at.developer.address, '<developer>')
    .replaceAll(at.alice.address, '<alice>')
    .replaceAll(at.contracts.escrow, '<escrow>')
    .replaceAll(at.contracts.usdc, '<token>')
    .replace(/0x[0-9a-f]{64}/g, '<hash>')
    .replace(/127\.0\.0\.1:\d+/g, '<rpc>')
    .replaceAll(at.gateway.domain, '<gateway>')
    .replace(/\d{4}-\d\d-\d\dT[\d:]+Z/g, '<time>')
    .replace(/[\w-]{43}/g, '<kid>')
}

test('a deposit is shown, confirmed, sent and told', async () => {
  const { exitCode, stdout, stderr } = await run('deposit 5', { typed: ['y'] })
  expect(exitCode).toBe(0)
  expect(steady(stderr)).toMatchInlineSnapshot(`
    "Deposit 5 USDC into the escrow:
      wallet              100 USDC
      free in the escrow  0 USDC
      escrow              <escrow>
      account             <developer>
      chain               31337 at http://<rpc>
      transactions        let <escrow> take 5 USDC
                          deposit 5 USDC
    Go ahead? [y/N] Sent: let <escrow> take 5 USDC (<hash>)
    Sent: deposit 5 USDC (<hash>)
    "
  `)
  expect(stdout).toMatchInlineSnapshot(`
    "Deposited 5 USDC; 5 USDC are free in the escrow.
    "
  `)
  expect(await free()).toBe(5_000_000n)
})

test('amounts may carry their unit, and a script gets base units as strings', async () => {
  const before = await free()
  const { exitCode, json, stderr } = await at.user.run(['deposit', '0.10 USDC', '--yes', '--json'])
  expect(exitCode).toBe(0)
  expect(json()).toEqual({
    amountUsdc: '100000',
    account: at.developer.address,
    escrow: at.contracts.escrow,
    balanceUsdc: String(before + 100_000n),
    transactions: [expect.stringMatching(/^0x[0-9a-f]{64}$/), expect.stringMatching(/^0x[0-9a-f]{64}$/)],
  })
  expect(stderr).toContain('Deposit 0.1 USDC into the escrow')
})

test.each([
  ['no', { typed: ['n'] }],
  ['nothing', { typed: [''] }],
  ['and nobody is there', {}],
])('without a yes nothing happens: %s', async (_what, options) => {
  const before = await free()
  const result = await run('deposit 1', options)
  expect(result.exitCode).toBe(1)
  expect(result.stderr).toContain('(not_confirmed)')
  expect(await free()).toBe(before)
})

test('a dry run shows the same, needs no yes and sends nothing', async () => {
  const before = await free()
  const nonce = await at.client.getTransactionCount({ address: at.developer.address })
  const { exitCode, json } = await run('withdraw 1 --dry-run --json')
  expect(exitCode).toBe(0)
  expect(json()).toMatchObject({ dryRun: true, amountUsdc: '1000000', steps: ['withdraw 1 USDC'] })
  expect(await free()).toBe(before)
  expect(await at.client.getTransactionCount({ address: at.developer.address })).toBe(nonce)
})

test('a grant is made, shown, improved, revoked and, after the notice, reclaimed', async () => {
  await run('deposit 2 --yes')
  const before = await free()
  const made = await run('approve alice --price 0.001 --budget 1 --expiry 7d --notice 24h --yes')
  expect(steady(made.stdout)).toMatchInlineSnapshot(`
    "Grant for alice (<alice>):
      price cap    0.001 USDC per call
      budget left  1 USDC
      spent        0 USDC for 0 settled calls
      expires      <time>
      notice       24 h: alice may settle until <time>
    "
  `)
  expect(await free()).toBe(before - 1_000_000n)

  await run('approve alice --price 0.002 --budget 1.5 --yes')
  const { grant } = (await run('allowance alice --json')).json<{ grant: Record<string, unknown> }>()
  expect(grant).toMatchObject({
    priceUsdc: '2000',
    budgetUsdc: '1500000',
    calls: 0,
    noticeHours: 48,
    epoch: 0,
  })

  const cut = await run('approve alice --price 0.001 --budget 1 --notice 1h --yes')
  expect(cut.stderr).toContain('The open grant has more price and budget and notice than that, and keeps it.')
  expect((await run('allowance alice --json')).json()).toMatchObject({
    grant: { priceUsdc: '2000', budgetUsdc: '1500000', noticeHours: 48 },
  })

  expect((await run('reclaim alice --yes --json')).json()).toMatchObject({ code: 'transaction_failed' })
  const revoked = await run('revoke alice --yes --json')
  expect(revoked.json()).toMatchObject({
    name: 'alice',
    budgetUsdc: '1500000',
    reclaimableFrom: expect.any(Number),
  })
  await at.wait(48 * 3600 + 60)
  const reclaimed = await run('reclaim alice --yes')
  expect(reclaimed.stdout).toContain('Reclaimed 1.5 USDC; ')
  expect(await free()).toBe(before)
  expect((await run('allowance alice --json')).json()).toMatchObject({ grant: null })
})

test('all that is free can be withdrawn', async () => {
  await run('deposit 1 --yes')
  expect((await run('withdraw all --yes --json')).json()).toMatchObject({ balanceUsdc: '0' })
  expect(await free()).toBe(0n)
})

test.each([
  ['deposit 1000000 --yes', 'balance_too_low'],
  ['deposit 0 --yes', 'transaction_failed'],
  ['withdraw 1000000 --yes', 'balance_too_low'],
  ['approve alice --price 0.001 --budget 1000000 --yes', 'balance_too_low'],
  ['approve nobody --price 0.001 --budget 1 --yes', 'provider_unknown'],
  ['approve -- -bad- --price', 'usage_invalid'],
  ['approve alice --budget 1', 'usage_invalid'],
  ['approve alice --price 0.0000001 --budget 1', 'usage_invalid'],
  ['approve alice --price 1 --budget 1 --notice 90m', 'usage_invalid'],
  ['approve alice --price 2000000 --budget 1', 'usage_invalid'],
  ['approve alice --price 1 --budget 1 --expiry 36500d', 'usage_invalid'],
  ['approve alice --price 1 --budget 1 --expiry tomorrow', 'usage_invalid'],
  ['revoke alice --yes', 'grant_missing'],
  ['reclaim alice --yes', 'grant_missing'],
  ['resolve ALICE_', 'name_malformed'],
  ['deposit 1 --account nobody --yes', 'key_missing'],
  ['deposit 1 --account developer --key-stdin --yes', 'usage_invalid'],
  ['balance 0x1234', 'usage_invalid'],
  ['deposit 1 --rpc ftp://x --yes', 'usage_invalid'],
  ['deposit 1 --gateway http://127.0.0.1:1 --rpc http://127.0.0.1:1 --yes', 'market_not_running'],
  ['pass create --provider alice --max-price 1', 'usage_invalid'],
  ['pass create --max-price 1 --max-spend 1', 'usage_invalid'],
  ['pass create --provider alice --max-price 1 --max-spend 1 --deployment xyz', 'cid_malformed'],
])('%s is refused', async (line, code) => {
  const nonce = await at.client.getTransactionCount({ address: at.developer.address })
  const result = await run(`${line} --json`.replace(/(--) (.*) --json/, '--json $1 $2'))
  expect(result.json()).toMatchObject({ code, hint: expect.any(String) })
  expect(await at.client.getTransactionCount({ address: at.developer.address })).toBe(nonce)
})

test('a new account gets money from the faucet, signs with a key from the environment, and from standard input', async () => {
  const key = generatePrivateKey()
  const { address } = privateKeyToAccount(key)
  const env = { KHACHAPURI_PRIVATE_KEY: key }
  expect((await run('faucet --usdc 3 --yes --json', { env })).json()).toMatchObject({
    account: address,
    walletUsdc: '3000000',
  })
  expect((await run('deposit 1 --yes --json', { env })).json()).toMatchObject({ account: address })
  const piped = await run('deposit 1 --key-stdin --yes --json', { stdin: `${key}\n` })
  expect(piped.json()).toMatchObject({ account: address, balanceUsdc: '2000000' })
  expect((await run(`balance ${address} --json`)).json()).toMatchObject({
    balanceUsdc: '2000000',
    walletUsdc: '1000000',
  })
  for (const { stdout, stderr } of [piped]) expect(stdout + stderr).not.toContain(key.slice(2))
})

test("an account of the user's own keystore signs with its password", async () => {
  const env = { KHACHAPURI_PASSWORD: 'words' }
  const { address } = (await run('key new mine --json', { env })).json()
  await run(`faucet ${address} --yes`)
  expect((await run('balance mine --json')).json()).toMatchObject({
    account: address,
    walletUsdc: '100000000',
  })
  const wrong = await run('deposit 1 --account mine --yes --json', { env: { KHACHAPURI_PASSWORD: 'other' } })
  expect(wrong.json()).toMatchObject({ code: 'keystore_locked' })
  expect((await run('deposit 1 --account mine --yes --json', { env })).json()).toMatchObject({
    account: address,
  })
})

test('a pass is one line on standard output, valid at this market, and the curl line is beside it', async () => {
  const { exitCode, stdout, stderr } = await run(
    'pass create --provider alice --max-price 0.001 --max-spend 0.1 --expires 1h',
  )
  expect(exitCode).toBe(0)
  const { chainId, escrow } = at.contracts
  const pass = await verifyPass(stdout.trim(), { chainId, escrow })
  expect(pass).toMatchObject({
    payer: at.developer.address,
    providers: [at.alice.address],
    maxPricePerCall: 1_000n,
    maxSpend: 100_000n,
  })
  expect(pass.validBefore - pass.validAfter).toBe(3_660)
  expect(stderr).toContain(`curl -H "Authorization: Bearer $PASS" http://alice.${at.gateway.domain}/<cid>/`)
  expect(stderr).toContain('has no grant for alice yet')
})

test('a provider is resolved from the chain, and remembered', async () => {
  const { stdout } = await run('resolve alice')
  expect(steady(stdout).replace(/0x\w{40}/g, '<address>')).toMatchInlineSnapshot(`
    "alice
      account   <alice>
      server    "http://<rpc>"
      key       <kid>
      owner     <alice>
      resolver  <address>
      url       http://alice.<gateway>/
    "
  `)
})

test('a provider whose account changed is refused until the change is accepted', async () => {
  const { resolver } = (await run('resolve alice --json')).json<{ resolver: `0x${string}` }>()
  const other = privateKeyToAccount(generatePrivateKey()).address
  const never = new AbortController().signal
  await at.aliceSender.run(resolverCalls(resolver).setAddr(other), never)
  for (const line of ['resolve alice', 'allowance alice', 'approve alice --price 0.001 --budget 1 --yes']) {
    expect((await run(`${line} --json`)).json()).toMatchObject({
      code: 'identity_changed',
      found: { address: other },
    })
  }
  expect((await run('resolve alice --accept-identity --json')).json()).toMatchObject({ address: other })
  expect((await run('resolve alice --json')).json()).toMatchObject({ address: other })
  await at.aliceSender.run(resolverCalls(resolver).setAddr(at.alice.address), never)
  await run('resolve alice --accept-identity')
})

test('without a market the next step is said, and settings name another one', async () => {
  const cwd = join(at.user.dir, '..')
  const none = await run('balance 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 --json', { cwd })
  expect(none.json()).toMatchObject({
    code: 'market_not_running',
    hint: expect.stringContaining('npm start'),
  })
  const env = { KHACHAPURI_GATEWAY: at.gateway.url.href, KHACHAPURI_RPC: at.rpcUrl.href }
  const named = await run(`balance ${at.developer.address} --json`, { cwd, env })
  expect(named.json()).toMatchObject({ account: at.developer.address })
  const wrong = await run('balance --json', { cwd, env: { KHACHAPURI_GATEWAY: 'gopher://x' } })
  expect(wrong.json()).toMatchObject({ code: 'config_invalid' })
})

test('the environment goes before the market of the directory, and a flag before both', async () => {
  const env = { KHACHAPURI_GATEWAY: 'http://127.0.0.1:1', KHACHAPURI_RPC: at.rpcUrl.href }
  const line = `balance ${at.developer.address} --json`
  expect((await run(line, { env })).json()).toMatchObject({ code: 'market_not_running' })
  const flagged = await run(`${line} --gateway ${at.gateway.url.href}`, { env })
  expect(flagged.json()).toMatchObject({ account: at.developer.address })
})

test('a market file that says nonsense is refused', async () => {
  const { user } = at
  const dir = join(user.dir, 'elsewhere')
  await user.run(['init', 'elsewhere/.khachapuri'])
  await writeFile(join(dir, '.khachapuri', 'market.json'), '{"gateway":"here"}')
  expect((await user.run(['balance', '--json'], { cwd: dir })).json()).toMatchObject({
    code: 'config_invalid',
  })
})

test('doctor finds a market in order, names an account that is not there, and says where there is no market', async () => {
  const found = await run('doctor --json')
  const { checks } = found.json<{ checks: object[] }>()
  for (const name of ['version', 'gateway', 'chain', 'account'])
    expect(checks).toContainEqual(expect.objectContaining({ name, verdict: 'ok' }))

  const missing = await run('doctor --account nobody --json')
  expect([missing.exitCode, missing.json<{ checks: object[] }>().checks]).toEqual([
    1,
    expect.arrayContaining([expect.objectContaining({ name: 'account', verdict: 'wrong' })]),
  ])

  await using elsewhere = await createTestUser()
  const { exitCode, stderr } = await elsewhere.run(['doctor'])
  expect([exitCode, stderr]).toEqual([1, expect.stringMatching(/^WRONG {2}market {6}.*npm start/m)])
})
