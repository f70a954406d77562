import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Address, encodeFunctionData, type Hex, type LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestUser, type TestUser } from '../../cli/testing.ts'
import { createSender } from '../../devnet/contracts.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { escrowCalls, usdcCalls } from '../../protocol/chain/calls.ts'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { readBalance } from '../../protocol/chain/escrow.ts'
import { createReputationReader } from '../../protocol/chain/reputation-reader.ts'
import { limits } from '../../protocol/limits.ts'
import { computeReputation } from '../../protocol/reputation.ts'
import { statementPaths } from '../../protocol/statement.ts'
import { signStatementRequest } from '../../protocol/statement-request.ts'
import { parseUsdc, type Usdc, usdc } from '../../protocol/usdc.ts'
import { type Deployed, echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { never } from '../support/money.ts'
import { payingFetch } from '../support/x402.ts'

/** A payer's statement: each line leads to receipts and a settlement, and all of it is what the chain says. */

let at: TestMarket
let deployed: Deployed
beforeAll(async () => {
  at = await openMarket()
  deployed = await at.deploy(echoProgram, '--provider', 'alice', '--provider', 'bob', '--payer', 'caller')
  const pass = await at.pass()
  for (const provider of ['alice', 'bob']) await at.call({ provider, cid: deployed.cid, pass })
})
afterAll(() => at[Symbol.asyncDispose]())

interface Payer {
  readonly account: LocalAccount
  readonly env: Readonly<Record<string, string>>
}

async function createPayer(name: string): Promise<Payer> {
  const { alice, bob } = at.dev.providers
  const grant = { priceUsdc: usdc(1_000n), budgetUsdc: parseUsdc('1') }
  const { account, privateKey } = await at.createPayer({
    name,
    grants: [
      { ...grant, provider: alice.address },
      { ...grant, provider: bob.address },
      { ...grant, provider: alice.address, signer: 'payer' },
    ],
  })
  return { account, env: { KHACHAPURI_PRIVATE_KEY: privateKey } }
}

const run = (line: string, { env }: Pick<Payer, 'env'>) => at.user.run(line.split(' '), { env })

/** The calls' ids. */
async function callByPass({ account }: Payer, provider: string, count: number): Promise<string[]> {
  const pass = await at.pass({ payer: account.address }, account)
  const answers = await Promise.all(
    Array.from({ length: count }, () => at.call({ provider, cid: deployed.cid, pass })),
  )
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200))
  return answers.map((answer) => answer.header('khachapuri-call') ?? '')
}

type Row = Record<string, string>

async function readCsv(payer: Payer, flags = ''): Promise<Row[]> {
  const { exitCode, stdout, stderr } = await run(`statement --csv${flags}`, payer)
  expect(exitCode, stderr).toBe(0)
  expect(stderr).toContain('All of it is what the chain says')
  return parseCsv(stdout)
}

function parseCsv(text: string): Row[] {
  const [header = '', ...lines] = text.trimEnd().split('\r\n')
  const names = header.split(',')
  return lines.map((line) => {
    const cells = line.split(',')
    return Object.fromEntries(names.map((name, index) => [name, cells[index] ?? '']))
  })
}

const units = (text = '') => BigInt(Math.round(Number(text || '0') * 1e6))
const sum = (rows: readonly Row[], column: string) =>
  rows.reduce((total, row) => total + units(row[column]), 0n)

/** What must be so of every statement. */
async function expectTraceable(rows: readonly Row[], { account }: Payer): Promise<void> {
  const last = rows.findLast((row) => row['free_usdc'] !== '')
  const free = await readBalance(
    at.dev.client,
    { escrow: at.market.escrow, account: account.address },
    new AbortController().signal,
  )
  expect(units(last?.['free_usdc'])).toBe(free)
  expect(sum(rows, 'amount_usdc')).toBe(units(last?.['free_usdc']) + units(last?.['reserved_usdc']))
  for (const row of rows.filter(({ kind = '' }) => ['settlement', 'redemption'].includes(kind))) {
    const paidFor = rows.filter(
      (call) =>
        call['kind'] === 'call' && call['transaction'] === row['transaction'] && call['with'] === row['with'],
    )
    expect(sum(paidFor, 'price_usdc')).toBe(-units(row['amount_usdc']))
    expect(paidFor.length).toBeGreaterThan(0)
  }
}

test('passes at two providers, vouchers, x402, what is not settled yet, and the way out: to the last unit', async () => {
  const payer = await createPayer('stated')
  const first = [...(await callByPass(payer, 'alice', 3)), ...(await callByPass(payer, 'bob', 2))]
  await at.settle()
  const url = deployed.urls['alice'] ?? ''
  const byVoucher = (await run(`call ${url} --voucher --json`, payer)).json<{ call: string }>()
  const second = await callByPass(payer, 'alice', 2)
  await run('faucet --yes', payer)
  const paid = await payingFetch(payer.account)(new URL(`/${deployed.cid}/`, at.dev.providers.alice.url))
  expect(paid.status).toBe(200)
  await at.settle()
  const unsettled = await callByPass(payer, 'bob', 1)
  expect((await run('withdraw 1 --yes', payer)).exitCode).toBe(0)

  const rows = await readCsv(payer)
  await expectTraceable(rows, payer)
  const callsOf = (kind: string, name?: string) =>
    rows.filter((row) => row['kind'] === kind && (!name || row['with'] === name)).map(({ call }) => call)
  expect(callsOf('call').sort()).toEqual([...first, ...second, byVoucher.call].sort())
  expect(callsOf('unsettled')).toEqual(unsettled)
  // Every call that was settled is under the usage root that its settlement published.
  expect((await run('statement --json', payer)).stderr).not.toContain('usage roots')
  expect(callsOf('x402')).toEqual([paid.headers.get('khachapuri-call')])
  expect(
    rows.map(({ kind }) => kind).filter((kind) => !['call', 'unsettled', 'x402'].includes(kind ?? '')),
  ).toEqual(expect.arrayContaining(['deposit', 'approve', 'settlement', 'redemption', 'withdrawal']))

  const { stdout } = await run('statement --json', payer)
  const whole = JSON.parse(stdout)
  expect(whole).toMatchObject({
    account: payer.account.address,
    isSameOnChain: true,
    depositedUsdc: '10000000',
    withdrawnUsdc: '1000000',
    spentUsdc: '4000',
    x402Usdc: '500',
    unsettledUsdc: '500',
    calls: 10,
  })
  expect(whole.lines).toHaveLength(rows.length)

  const ofBob = await readCsv(payer, ' --provider bob')
  expect(new Set(ofBob.map((row) => row['with']))).toEqual(new Set(['bob']))
  expect(ofBob).toEqual(rows.filter((row) => row['with'] === 'bob'))
  expect(await readCsv(payer, ' --since 2030-01-01')).toMatchObject([{ kind: 'opening' }])

  const text = await run('statement', payer)
  expect(text.stdout).toMatch(/settlement +alice +-0\.0015/)
  expect(text.stdout).toContain('All of it is what the chain says at block')
  const bare = await at.user.run(['statement', '--chain-only', '--json'], {
    env: { KHACHAPURI_ACCOUNT: 'payer' },
  })
  expect(bare.json()).toMatchObject({ isSameOnChain: true })
})

test('more receipts than a page has', async () => {
  const payer = await createPayer('busy')
  const count = limits.statementPageEntriesMax + 20
  const calls: string[] = []
  while (calls.length < count) calls.push(...(await callByPass(payer, 'alice', 45)))
  await at.settle()
  const rows = await readCsv(payer)
  await expectTraceable(rows, payer)
  expect(
    rows
      .filter(({ kind }) => kind === 'call')
      .map(({ call }) => call)
      .sort(),
  ).toEqual(calls.sort())
})

test('a provider’s own: each settlement with the calls that it charged, and what was paid by x402', async () => {
  const payer = await createPayer('charged')
  const calls = await callByPass(payer, 'alice', 4)
  await at.settle()
  await callByPass(payer, 'alice', 2)
  await at.settle()
  const owed = await callByPass(payer, 'alice', 3)
  const { exitCode, stdout, stderr } = await run(
    `provider statement --dir ${join(at.dir, 'alice')} --csv`,
    payer,
  )
  expect(exitCode, stderr).toBe(0)
  const rows = parseCsv(stdout)
  const incomes = rows.filter(({ kind }) => kind === 'income')
  expect(incomes.length).toBeGreaterThan(1)
  for (const income of incomes) {
    const charged = rows.filter(
      (row) => row['kind'] === 'call' && row['transaction'] === income['transaction'],
    )
    expect(sum(charged, 'price_usdc')).toBe(units(income['amount_usdc']))
  }
  const mine = rows.filter((row) => row['with'] === payer.account.address && row['kind'] === 'call')
  expect(mine.map(({ call }) => call)).toEqual(expect.arrayContaining(calls))
  expect(mine).toHaveLength(6)
  const unsettled = rows.filter(({ kind }) => kind === 'unsettled')
  expect(unsettled.map(({ call }) => call).sort()).toEqual(owed.sort())
  expect(rows.filter(({ kind }) => kind === 'x402')).toMatchObject([{ price_usdc: '0.0005' }])
  const whole = (await run(`provider statement --dir ${join(at.dir, 'alice')} --json`, payer)).json()
  expect(whole).toMatchObject({
    account: at.dev.providers.alice.address,
    isSameOnChain: true,
    earnedUsdc: sum(incomes, 'amount_usdc').toString(),
    x402Usdc: '500',
  })
  const nowhere = await run(`provider statement --dir ${join(at.dir, 'nobody')} --json`, payer)
  expect(nowhere.json()).toMatchObject({ code: 'usage_invalid' })
  const empty = await run(`provider statement --dir ${at.dir} --json`, payer)
  expect(empty.json()).toMatchObject({ code: 'config_invalid' })
})

test.each(['alice', 'bob'] as const)(
  '%s shows an account to its payer only, and for a short time',
  async (name) => {
    const { account } = at.dev.accounts.payer
    const provider = at.dev.providers[name].address
    const now = Math.floor(Date.now() / 1000)
    const ask = async (token: string | undefined, path: string = statementPaths.lanes) =>
      at.call({
        provider: name,
        path,
        rawHeaders: token === undefined ? [] : ['authorization', `Bearer ${token}`],
      })
    const request = { payer: account.address, provider, validBefore: now + 120 }
    const good = await signStatementRequest(request, account, at.market)
    const lanes = (await ask(good)).json<{ entries: { lane: number; signer: string }[] }>().entries
    expect(lanes.length).toBeGreaterThan(0)
    // Who reads it on its way reads the same, and nothing else happens.
    expect((await ask(good)).json()).toEqual({ entries: lanes })

    const codeOf = async (token: string | undefined) => {
      const { status, problem } = await ask(token)
      return [status, problem().code]
    }
    const refused = [403, 'signature_invalid']
    const thief = privateKeyToAccount(generatePrivateKey())
    const other = name === 'alice' ? at.dev.providers.bob.address : at.dev.providers.alice.address
    expect(await codeOf(undefined)).toEqual(refused)
    expect(await codeOf('ks1.x.y')).toEqual(refused)
    expect(await codeOf(await signStatementRequest(request, thief, at.market))).toEqual(refused)
    expect(
      await codeOf(await signStatementRequest({ ...request, provider: other }, account, at.market)),
    ).toEqual(refused)
    for (const validBefore of [now - 1, now + limits.statementRequestAgeSecondsMax + 60]) {
      expect(
        await codeOf(await signStatementRequest({ ...request, validBefore }, account, at.market)),
      ).toEqual(refused)
    }
    for (const market of [
      { ...at.market, chainId: 1 },
      { ...at.market, escrow: provider },
    ])
      expect(await codeOf(await signStatementRequest(request, account, market))).toEqual(refused)
    // A stranger's own request shows that it has nothing here, and another payer's lane is not shown to it.
    const stranger = { ...request, payer: thief.address }
    expect(await codeOf(await signStatementRequest(stranger, thief, at.market))).toEqual([404, 'not_found'])
    const neighbour = await createPayer(`neighbour of ${name}`)
    await callByPass(neighbour, name, 1)
    const theirs = { ...request, payer: neighbour.account.address }
    const token = await signStatementRequest(theirs, neighbour.account, at.market)
    const stolen = await ask(token, `${statementPaths.receipts}?lane=${lanes[0]?.lane}`)
    expect(stolen.json<{ entries: Hex[] }>()).toEqual({ entries: [] })
    expect((await ask(token, `${statementPaths.receipts}?lane=-1`)).status).toBe(400)
    const proofs = `${statementPaths.proofs}?lane=${lanes[0]?.lane}`
    expect((await ask(undefined, proofs)).status).toBe(403)
    expect((await ask(token, statementPaths.proofs)).status).toBe(400)
    expect((await ask(token, proofs)).json()).toEqual({ entries: [] })
  },
)

test('a reputation is what the chain says at one block: two strangers get the same bytes, and gifts do not help', async () => {
  const account = privateKeyToAccount(generatePrivateKey())
  const erin = await at.startProvider('erin', { account })
  const grants = [{ provider: erin.address, priceUsdc: usdc(1_000n), budgetUsdc: parseUsdc('1') }]
  const payers = [
    await at.createPayer({ name: 'ann', grants }),
    await at.createPayer({ name: 'ben', grants }),
  ]
  const { cid } = await at.deploy(echoProgram, '--provider', 'erin', '--payer', 'caller')
  const call = async (payer: LocalAccount) => {
    const pass = await at.pass({ payer: payer.address, providers: [erin.address] }, payer)
    expect((await at.call({ provider: 'erin', cid, pass })).status).toBe(200)
  }
  for (const { account: payer } of payers) await call(payer)
  const broken = payers[0]?.account as LocalAccount
  const pass = await at.pass({ payer: broken.address, providers: [erin.address] }, broken)
  expect((await at.call({ provider: 'erin', cid, pass, path: '/throw' })).status).toBe(502)
  await at.settle()

  const { gateway, chain, client, contracts } = at.dev
  const places = ['--gateway', gateway.url.href, '--rpc', chain.rpcUrl.href]
  const ask = async (user: TestUser, ...flags: string[]) => {
    const { exitCode, stdout, stderr } = await user.run(['reputation', 'erin', '--json', ...flags, ...places])
    expect(exitCode, stderr).toBe(0)
    return stdout
  }
  await using stranger = await createTestUser()
  await using other = await createTestUser()
  const block = JSON.parse(await ask(stranger)).block.number
  const pinned = ['--block', String(block)]
  const first = await ask(stranger, ...pinned)
  expect(JSON.parse(first)).toMatchObject({
    ...{ name: 'erin', address: erin.address, calls: 2, payers: 2, effectivePayersMilli: 2_000 },
    ...{ spentUsdc: '1000', countedUsdc: '1000', weight: '44' },
    excluded: { payers: 0, spentUsdc: '0' },
  })

  // A gateway reads the same for its routes.
  const reader = createReputationReader(client, { escrow: contracts.escrow, token: contracts.usdc })
  const toBlock = BigInt(block)
  const settled = await reader.newestBlock(never)
  expect(settled).toBeLessThanOrEqual(await client.getBlockNumber({ cacheTime: 0 }))
  const { owner } = JSON.parse(first)
  const scope = { provider: erin.address, owner, fromBlock: 0n, toBlock }
  expect(computeReputation(await reader.read(scope, never))).toMatchObject({ calls: 2, weight: 44n })

  // What the payers wrote down counts, whoever counts it, in whatever files.
  await using files = await createTestUser()
  for (const [index, payer] of payers.entries()) {
    const env = { KHACHAPURI_PRIVATE_KEY: payer.privateKey }
    const written = await files.run(['receipts', 'erin', '-o', `kept/${index}.jsonl`, '--json', ...places], {
      env,
    })
    expect(written.exitCode, written.stdout).toBe(0)
    expect(written.json()).toMatchObject({ rooted: 1, signed: index === 0 ? 1 : 0, missing: 0 })
  }
  const lines = await Promise.all(
    [0, 1].map(async (index) =>
      (await readFile(join(files.dir, `kept/${index}.jsonl`), 'utf8')).trimEnd().split('\n'),
    ),
  )
  const [annsRooted, annsSigned] = lines[0] as [string, string]
  const keep = async (user: TestUser, ...kept: string[]) => {
    await mkdir(join(user.dir, 'evidence'), { recursive: true })
    await Promise.all(kept.map((text, index) => writeFile(join(user.dir, 'evidence', `${index}`), text)))
  }
  await keep(stranger, ...lines.map((one) => one.join('\n')))
  await keep(other, ...lines.flat().reverse())
  const counted = await ask(stranger, ...pinned, '--receipts', 'evidence')
  expect(await ask(other, ...pinned, '--receipts', 'evidence')).toBe(counted)
  expect(JSON.parse(counted)).toMatchObject({
    ...{ calls: 2, payers: 2, weight: '44', inputs: { receipts: 3, reports: 0 } },
    served: { answered: 2, failures: 0, programFaults: 1, unused: { surplus: 0, unsettled: 0 } },
    refused: { unreadable: 0, foreign: 0, forged: 0, duplicate: 0 },
  })
  expect(JSON.parse(first).inputs.digest).not.toBe(JSON.parse(counted).inputs.digest)
  // Forged: cheaper than it was, quicker than it was; twice; no receipt at all.
  const changed = (line: string, changes: object) => JSON.stringify({ ...JSON.parse(line), ...changes })
  await keep(
    other,
    ...[
      changed(annsRooted, { durationMs: 0 }),
      changed(annsSigned, { outcome: 'answered' }),
      annsRooted,
      'x',
    ],
    ...lines.flat(),
  )
  const refused = JSON.parse(await ask(other, ...pinned, '--receipts', 'evidence'))
  expect(refused.refused).toEqual({ unreadable: 1, foreign: 0, forged: 2, duplicate: 1 })
  expect({ ...refused, refused: 0 }).toEqual({ ...JSON.parse(counted), refused: 0 })
  // The roots of another provider are not its own.
  const ofAlice = await other.run([
    'reputation',
    'alice',
    '--json',
    ...pinned,
    '--receipts',
    'evidence',
    ...places,
  ])
  expect(ofAlice.json()).toMatchObject({ inputs: { receipts: 0 }, refused: { foreign: 6, forged: 0 } })

  // One call more, and the provider gives one payer its money back in the wallet, the other one in the escrow.
  await call(payers[0]?.account as LocalAccount)
  await at.settle()
  const deps = { client, clock: systemClock, log: createTestLog() }
  const sender = createSender(deps, account, contracts.chainId)
  const [ann, ben] = payers.map((payer) => payer.account.address) as [Address, Address]
  const [back, signal] = [usdc(300n), new AbortController().signal]
  await sender.run(usdcCalls(contracts.usdc).mint(account.address, usdc(1_000n)), signal)
  await sender.run(usdcCalls(contracts.usdc).approve(contracts.escrow, parseUsdc('1')), signal)
  await sender.run(escrowCalls(contracts.escrow).depositFor(ben, usdc(500n)), signal)
  await sender.run(transferOf(contracts.usdc, ann, back), signal)
  expect(await ask(other, ...pinned)).toBe(first)
  expect(JSON.parse(await ask(other))).toMatchObject({
    ...{ calls: 2, payers: 1, spentUsdc: '1500', countedUsdc: '700' },
    excluded: { payers: 1, spentUsdc: '500' },
  })
  const { stdout } = await other.run(['reputation', 'erin', ...places])
  expect(stdout).toContain('payers    1, as many as 1 of equal size')
  const early = await other.run(['reputation', 'erin', '--block', '999999999', ...places])
  expect([early.exitCode, early.stderr]).toEqual([2, expect.stringContaining('has no block 999999999 yet')])
})

const transferOf = (token: Address, to: Address, amountUsdc: Usdc) => ({
  label: 'give money back',
  to: token,
  data: encodeFunctionData({ abi: devUsdcAbi, functionName: 'transfer', args: [to, amountUsdc] }),
})

// The last one: the market cannot be settled any more when one of its providers has gone.
test('a provider that is away is named, with what it leaves unexplained, and the command ends with 1', async () => {
  await using carol = await at.startProvider('carol')
  const payer = await createPayer('left')
  const approved = await run('approve carol --price 0.001 --budget 0.1 --yes', payer)
  expect(approved.exitCode).toBe(0)
  await at.syncGrants()
  const [cid] = [(await at.deploy(echoProgram, '--provider', 'carol', '--payer', 'caller')).cid]
  const pass = await at.pass({ payer: payer.account.address, providers: [carol.address] }, payer.account)
  expect((await at.call({ provider: 'carol', cid, pass })).status).toBe(200)
  await at.settle()
  await expectTraceable(await readCsv(payer), payer)
  await carol[Symbol.asyncDispose]()
  // It has gone, and its ledger is there.
  const own = await run(`provider statement --dir ${join(at.dir, 'carol')} --json`, payer)
  expect(own.json()).toMatchObject({
    account: carol.address,
    isSameOnChain: true,
    earnedUsdc: '500',
    calls: 1,
  })
  const result = await run('statement --json', payer)
  expect(result.exitCode).toBe(1)
  expect(result.json()).toMatchObject({
    code: 'statement_differs',
    differences: [{ what: 'receipts of carol', statedUsdc: '0', chainUsdc: '500' }],
    hint: expect.stringContaining('carol did not answer'),
  })
  // A machine that has met nobody says whose name it lacks, and not that anybody lied.
  const home = join(at.user.dir, 'met-nobody')
  const nameless = await run('statement --json', { env: { ...payer.env, KHACHAPURI_HOME: home } })
  expect(nameless.json()).toMatchObject({
    code: 'statement_differs',
    hint: expect.stringContaining(`the name of ${carol.address}, so nobody was asked there: add --provider`),
  })
  const lines = await run('statement --csv', payer)
  expect([lines.exitCode, lines.stdout.split('\r\n')[0]]).toEqual([1, expect.stringContaining('time,kind')])
  expect((await run('statement --chain-only --json', payer)).json()).toMatchObject({ isSameOnChain: true })
})
