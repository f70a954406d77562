import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { callHeaders } from '../../protocol/call.ts'
import { readGrant } from '../../protocol/chain/escrow.ts'
import { parseProblem } from '../../protocol/errors.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { signVoucher, type Voucher } from '../../protocol/voucher.ts'
import { openTab, type SpendRules } from '../../protocol/voucher-client.ts'
import { createMemoryTab, createVoucherSession, readCallEnd } from '../../protocol/voucher-session.ts'
import { formatVoucherToken, signVoucherAccess, voucherHeader } from '../../protocol/voucher-token.ts'
import { type CurlAnswer, codeOf, curl } from '../support/curl.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** KH-7: who trusts nobody pays by vouchers, a hundred calls at a time, and never for more than it called for. */

const price = usdc(500n)
const log = createTestLog()
let at: TestMarket
let deployed: Deployed
beforeAll(async () => {
  at = await openMarket({ log })
  deployed = await at.deploy(echoProgram, '--provider', 'alice', '--payer', 'caller')
  await at.call({ cid: deployed.cid, pass: await at.pass() })
})
afterAll(() => at[Symbol.asyncDispose]())

interface Keys {
  readonly payer: LocalAccount
  /** Signs the vouchers: the payer, or a session key. */
  readonly signer: LocalAccount
}

const createKey = () => privateKeyToAccount(generatePrivateKey())

async function createVoucherPayer(name: string, session?: LocalAccount): Promise<Keys> {
  const grant = {
    provider: at.dev.providers.alice.address,
    priceUsdc: parseUsdc('0.001'),
    budgetUsdc: parseUsdc('1'),
    signer: session?.address ?? 'payer',
  } as const
  const { account } = await at.createPayer({ name, grants: [grant] })
  return { payer: account, signer: session ?? account }
}

const readGrantOf = ({ payer, signer }: Keys) =>
  readGrant(
    at.dev.client,
    at.market.escrow,
    { payer: payer.address, provider: at.dev.providers.alice.address, signer: signer.address },
    new AbortController().signal,
  )

/** A voucher for ten calls, with these fields changed before it is signed. */
async function tokenOf(
  { payer, signer }: Keys,
  changes: Partial<Voucher> = {},
  { market = at.market, key = signer } = {},
): Promise<string> {
  const voucher: Voucher = {
    payer: payer.address,
    provider: at.dev.providers.alice.address,
    maxAmount: usdc(5_000n),
    maxCalls: 10,
    epoch: 0,
    ...changes,
  }
  const signature = await signVoucher(voucher, key, market)
  return formatVoucherToken({
    signed: { voucher, signer: signer.address, signature },
    access: await signVoucherAccess(voucher, key, market),
  })
}

/** What `redeem` makes known of a token, and what it does not. */
function takeApart(token: string): { readonly published: string; readonly access: string } {
  const end = token.lastIndexOf('.')
  return { published: token.slice(0, end), access: token.slice(end + 1) }
}

const callWith = (token: string, { rawHeaders = [], ...call }: Parameters<TestMarket['call']>[0] = {}) =>
  at.call({ cid: deployed.cid, rawHeaders: [voucherHeader, token, ...rawHeaders], ...call })

/** A client as the library has it, with a memory that nobody else has. */
function createClient(keys: Keys, rules: SpendRules) {
  const { payer, signer } = keys
  const tab = createMemoryTab(
    openTab({
      payer: payer.address,
      provider: at.dev.providers.alice.address,
      signer: signer.address,
      epoch: 0,
      spentUsdc: usdc(0n),
      calls: 0,
    }),
  )
  const session = createVoucherSession(
    {
      clock: systemClock,
      store: tab,
      sign: (voucher) => signVoucher(voucher, signer, at.market),
      signAccess: (scope) => signVoucherAccess(scope, signer, at.market),
      readGrant: () => readGrantOf(keys),
    },
    { market: at.market, rules },
  )
  const call = (send: (token: string) => Promise<CurlAnswer> = callWith) =>
    session.call(price, async (token) => toAttempt(await send(token)))
  return { tab, call }
}

function toAttempt(answer: CurlAnswer) {
  const problem = answer.status >= 400 ? parseProblem(JSON.parse(answer.text)) : undefined
  return { ...readCallEnd({ status: answer.status, header: answer.header, problem }), value: answer }
}

const totalsOf = (answer: CurlAnswer) => [callHeaders.spent, callHeaders.calls].map(answer.header)

describe('vouchers', () => {
  test('pay for 120 calls at once on one session key, with one check of a signature for each window', async () => {
    const keys = await createVoucherPayer('busy', createKey())
    const { call, tab } = createClient(keys, { windowCalls: 60 })
    const checks = () => log.lines.filter(({ event }) => event === 'voucher_verified').length
    const before = checks()
    const costs = await at.costsOf(async () => {
      const answers = await Promise.all(Array.from({ length: 120 }, () => call()))
      expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
      const calls = answers.map((answer) => Number(answer.header(callHeaders.calls)))
      expect(calls.sort((a, b) => a - b)).toEqual(Array.from({ length: 120 }, (_, index) => index + 1))
    })
    // One for the voucher that promises nothing and asks how things stand, and one for each of the two windows.
    expect(checks() - before).toBe(3)
    expect(costs.earned).toEqual({ alice: 60_000n })
    expect(await readGrantOf(keys)).toMatchObject({ spentUsdc: 60_000n, calls: 120, budgetUsdc: 940_000n })
    expect(tab.read()).toMatchObject({ broken: undefined, most: { amountUsdc: 60_000n, calls: 120 } })
  })

  test('are money, so the program never sees them; their owner sees what they have paid', async () => {
    const keys = await createVoucherPayer('seen')
    const answer = await callWith(await tokenOf(keys))
    expect([answer.status, answer.header(callHeaders.price), ...totalsOf(answer)]).toEqual([
      200,
      '500',
      '500',
      '1',
    ])
    expect(answer.text).not.toContain('kv1.')
  })

  test('a client that lost its memory goes on where it was, with what it had promised', async () => {
    const keys = await createVoucherPayer('forgetful')
    const first = createClient(keys, { windowCalls: 10 })
    for (let i = 0; i < 3; i += 1) expect((await first.call()).status).toBe(200)
    const second = createClient(keys, { windowCalls: 10 })
    expect(totalsOf(await second.call())).toEqual(['2000', '4'])
    expect(second.tab.read()).toMatchObject({
      most: { amountUsdc: 2_000n, calls: 4 },
      signed: { voucher: { maxAmount: 5_000n, maxCalls: 10 } },
    })
  })

  test('a repetition under an Idempotency-Key costs nothing, under another voucher, too', async () => {
    const keys = await createVoucherPayer('repeating')
    const { call, tab } = createClient(keys, { windowCalls: 1 })
    const keyed = (token: string) => callWith(token, { rawHeaders: ['idempotency-key', 'once'] })
    const [first, second] = [await call(keyed), await call(keyed)]
    expect([second.header(callHeaders.replayed), second.text]).toEqual(['true', first.text])
    expect(tab.read().most).toEqual({ amountUsdc: 500n, calls: 1 })
    expect(totalsOf(await call())).toEqual(['1000', '2'])
  })

  test('a program that fails is not paid, and the totals say so', async () => {
    const keys = await createVoucherPayer('unlucky')
    const { call, tab } = createClient(keys, { windowCalls: 5 })
    const answer = await call((token) => callWith(token, { path: '/throw' }))
    expect([answer.problem().code, ...totalsOf(answer)]).toEqual(['program_crashed', '0', '0'])
    expect(tab.read()).toMatchObject({ broken: undefined, most: { amountUsdc: 0n, calls: 0 } })
  })

  test('what does not cover the call is refused with all that the next voucher needs', async () => {
    const keys = await createVoucherPayer('short')
    const good = await tokenOf(keys, { maxAmount: usdc(1_000n), maxCalls: 5 })
    const facts = {
      epoch: 0,
      accepted: takeApart(good).published,
      charged: '1000',
      chargedCalls: 2,
      price: '500',
      status: 402,
    }
    const costs = await at.costsOf(async () => {
      for (let i = 0; i < 2; i += 1) expect((await callWith(good)).status).toBe(200)
      const tokens = [
        good,
        await tokenOf(keys, { maxAmount: usdc(999n) }),
        await tokenOf(keys, { maxAmount: usdc(9_000n), maxCalls: 2 }),
        await tokenOf(keys, { maxAmount: usdc(0n), maxCalls: 0 }),
      ]
      for (const token of tokens) {
        const answer = await callWith(token)
        expect(answer.problem()).toMatchObject({ ...facts, code: 'voucher_too_low', pay: expect.anything() })
        expect(answer.header(callHeaders.call)).toBeUndefined()
        expect(answer.text).not.toContain(takeApart(good).access)
      }
      const other = await callWith(await tokenOf(keys, { epoch: 1 }))
      expect(other.problem()).toMatchObject({ ...facts, code: 'voucher_epoch_other' })
    })
    expect(costs.earned).toEqual({ alice: 1_000n })
  })

  test('of another form, market, provider or key are refused, cost nothing, and tell nothing', async () => {
    const keys = await createVoucherPayer('target')
    const good = await tokenOf(keys)
    const [kind, payload = '', signature = '', access] = good.split('.')
    const flipped = signature.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))
    const cases: [string, string][] = [
      ['voucher_invalid', [kind, payload, malleate(signature), access].join('.')],
      ['voucher_invalid', [kind, payload, flipped, access].join('.')],
      ['voucher_invalid', good.replace('kv1', 'kv2')],
      ['voucher_invalid', await tokenOf(keys, {}, { market: { ...at.market, chainId: 1 } })],
      ['voucher_invalid', await tokenOf(keys, {}, { market: { ...at.market, escrow: keys.payer.address } })],
      ['voucher_invalid', await tokenOf(keys, {}, { key: createKey() })],
      ['voucher_not_for_provider', await tokenOf(keys, { provider: at.dev.providers.bob.address })],
      ['grant_missing', await tokenOf({ payer: keys.payer, signer: createKey() })],
    ]
    const costs = await at.costsOf(async () => {
      for (const [code, token] of cases) {
        const answer = await callWith(token)
        expect(answer.problem().code).toBe(code)
        expect(answer.text).not.toContain('accepted')
      }
    })
    expect(costs).toEqual(nothing)
  })

  test('that somebody copied from the chain are worth nothing without what only their signer can make', async () => {
    const keys = await createVoucherPayer('copied')
    const { published } = takeApart(await tokenOf(keys))
    const thief = createKey()
    const scope = { payer: keys.payer.address, provider: at.dev.providers.alice.address, epoch: 0 }
    const own = (changes: Partial<typeof scope>, market = at.market) =>
      signVoucherAccess({ ...scope, ...changes }, keys.signer, market)
    const accesses = [
      await signVoucherAccess(scope, thief, at.market),
      await own({ epoch: 1 }),
      await own({ provider: at.dev.providers.bob.address }),
      await own({}, { ...at.market, chainId: 1 }),
    ].map((access) => Buffer.from(access.slice(2), 'hex').toString('base64url'))
    const costs = await at.costsOf(async () => {
      for (const token of [published, ...accesses.map((access) => `${published}.${access}`)]) {
        const answer = await callWith(token)
        expect(answer.problem().code).toBe('voucher_invalid')
        expect(answer.text).not.toContain('accepted')
      }
    })
    expect(costs).toEqual(nothing)
  })
})

/** The other form of the same signature: a high `s`. */
function malleate(signature: string): string {
  const bytes = Buffer.from(signature, 'base64url')
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
  const s = order - BigInt(`0x${bytes.subarray(32, 64).toString('hex')}`)
  bytes.write(s.toString(16).padStart(64, '0'), 32, 'hex')
  bytes[64] = bytes[64] === 27 ? 28 : 27
  return bytes.toString('base64url')
}

interface Answer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body: object
}

describe('a provider that lies', () => {
  const paid = (price: string, spent: string, calls: string): Answer => ({
    status: 200,
    headers: {
      [callHeaders.call]: `0x${'11'.repeat(32)}`,
      [callHeaders.price]: price,
      [callHeaders.spent]: spent,
      [callHeaders.calls]: calls,
    },
    body: {},
  })
  const corrected = (details: object = {}): Answer => ({
    status: 402,
    body: {
      ...{ code: 'voucher_too_low', detail: 'More.', hint: 'Sign more.', epoch: 0, accepted: null },
      ...{ charged: '0', chargedCalls: 0, owed: '0', owedCalls: 0 },
      ...details,
    },
  })

  /** Tells a newcomer the truth, and then this. */
  async function listenWith(answer: Answer) {
    const tokens: string[] = []
    const server = createServer((request, response) => {
      tokens.push(String(request.headers[voucherHeader]))
      const { status, headers, body } = tokens.length === 1 ? corrected() : answer
      response.writeHead(status, headers)
      response.end(JSON.stringify(body))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    return {
      tokens,
      call: (token: string) => curl({ port, host: 'liar', path: '/', rawHeaders: [voucherHeader, token] }),
      [Symbol.dispose]: () => void server.close(),
    }
  }

  const promised = { charged: '4000', chargedCalls: 8, owed: '4000', owedCalls: 8 }
  test.each<[string, (keys: Keys) => Promise<Answer>]>([
    ['about what was spent', async () => paid('500', '501', '1')],
    ['about how many calls there were', async () => paid('500', '500', '2')],
    ['about the price', async () => paid('501', '501', '1')],
    ['about calls that were never made', async () => corrected({ ...promised, accepted: null })],
    [
      'about a voucher that was never signed',
      async (keys) =>
        corrected({
          ...promised,
          accepted: takeApart(await tokenOf(keys, {}, { key: createKey() })).published,
        }),
    ],
  ])('%s gets no further signature', async (_what, answerFor) => {
    const account = createKey()
    const keys = { payer: account, signer: account }
    using liar = await listenWith(await answerFor(keys))
    const { call } = createClient(keys, { windowCalls: 5 })
    for (let i = 0; i < 3; i += 1) expect(await codeOf(call(liar.call))).toBe('accounts_differ')
    // The voucher that promises nothing, and one for five calls.
    expect(liar.tokens).toHaveLength(2)
  })

  test('about the epoch is held against the chain', async () => {
    const keys = await createVoucherPayer('careful')
    using liar = await listenWith(corrected({ code: 'voucher_epoch_other', epoch: 3 }))
    const { call } = createClient(keys, { windowCalls: 5 })
    expect(await codeOf(call(liar.call))).toBe('accounts_differ')
  })
})
