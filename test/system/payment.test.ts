import { randomUUID } from 'node:crypto'
import type { Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { base64url, toHex } from '../../protocol/base/bytes.ts'
import { digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { type Pass, signPass } from '../../protocol/pass.ts'
import { parseUsdc, usdc } from '../../protocol/usdc.ts'
import { filesWrittenBy } from '../support/files.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** KH-5: passes pay exactly the price or nothing, and an `Idempotency-Key` pays once. */

let at: TestMarket
let paidByCaller: Deployed
let other: Deployed
let paidByOwner: Deployed
beforeAll(async () => {
  at = await openMarket()
  const both = ['--provider', 'alice', '--provider', 'bob']
  paidByCaller = await at.deploy(echoProgram, ...both, '--payer', 'caller')
  other = await at.deploy(echoProgram, ...both, '--payer', 'caller', '--timeout', '9000')
  paidByOwner = await at.deploy(echoProgram, ...both)
  // Programs start with the first call; what follows is about money.
  const pass = await at.pass()
  for (const { cid } of [paidByCaller, other]) await at.call({ cid, pass })
  await at.call({ cid: paidByOwner.cid })
})
afterAll(() => at[Symbol.asyncDispose]())

const digestOf = (cid: string) => toHex(digestOfCid(parseContentCid(cid))) as Hex
const nowSeconds = () => Math.floor(Date.now() / 1000)

/** Makes a call that must be refused: with this code and a hint, with no call on record, no file written, no debit. */
async function expectRefusal(
  call: Parameters<TestMarket['call']>[0],
  { status, code }: { status: number; code: string },
): Promise<void> {
  const costs = await at.costsOf(async () => {
    const written = await filesWrittenBy(at.dir, async () => {
      const answer = await at.call({ cid: paidByCaller.cid, ...call })
      expect({ status: answer.status, code: answer.problem().code }).toEqual({ status, code })
      expect(answer.problem().hint).toMatch(/^[A-Z].*\.$/)
      expect(answer.header('khachapuri-call')).toBeUndefined()
    })
    // What programs logged before may be written while this is refused.
    expect(written.filter((path) => !path.includes('program-log.sqlite'))).toEqual([])
  })
  expect(costs).toEqual(nothing)
}

describe('a pass', () => {
  test.each(['alice', 'bob'])('pays exactly the price to %s', async (provider) => {
    const pass = await at.pass({ deployment: digestOf(paidByCaller.cid) })
    const costs = await at.costsOf(async () => {
      const written = await filesWrittenBy(at.dir, async () => {
        const answer = await at.call({ provider, cid: paidByCaller.cid, pass })
        expect(answer.status).toBe(200)
        expect(answer.header('khachapuri-price')).toBe('500')
      })
      // What every refusal below must not do.
      expect(written).toContain(`${provider}/ledger/ledger.groups`)
    })
    expect(costs).toEqual({ paid: { payer: 500n }, earned: { [provider]: 500n } })
  })

  test('is money, so the program never sees it; what else is in Authorization it does', async () => {
    const seen = async (rawHeaders: string[]) =>
      (await at.call({ cid: paidByOwner.cid, rawHeaders })).json<{ headers: [string, string][] }>().headers
    const pass = await at.pass()
    expect(JSON.stringify(await seen(['authorization', `bearer  ${pass}`]))).not.toContain('kp1.')
    expect(await seen(['authorization', 'Basic YTpi'])).toContainEqual(['authorization', 'Basic YTpi'])
  })

  test('pays until it is spent, and not one call more, however many come at once', async () => {
    const pass = await at.pass({ maxSpend: usdc(1_700n) })
    const costs = await at.costsOf(async () => {
      const answers = await Promise.all(
        Array.from({ length: 10 }, () => at.call({ cid: paidByCaller.cid, pass })),
      )
      expect(answers.filter(({ status }) => status === 200)).toHaveLength(3)
      const refused = answers.filter(({ status }) => status !== 200).map((answer) => answer.problem())
      for (const problem of refused)
        expect(problem).toMatchObject({ status: 402, code: 'pass_exhausted', left: '200', price: '500' })
    })
    expect(costs).toEqual({ paid: { payer: 1_500n }, earned: { alice: 1_500n } })
  })

  const refusals: readonly (readonly [string, (cids: { other: string }) => Partial<Pass>, number, string])[] =
    [
      ['whose cap is below the price', () => ({ maxPricePerCall: usdc(499n) }), 402, 'price_above_cap'],
      ['that allows less than one call in all', () => ({ maxSpend: usdc(499n) }), 402, 'pass_exhausted'],
      ['that has expired', () => ({ validBefore: nowSeconds() - 1 }), 401, 'pass_expired'],
      ['that is not valid yet', () => ({ validAfter: nowSeconds() + 600 }), 401, 'pass_invalid'],
      [
        'for another deployment',
        (cids) => ({ deployment: digestOf(cids.other) }),
        401,
        'pass_not_for_deployment',
      ],
    ]
  test.each(refusals)('%s is refused', async (_what, changes, status, code) => {
    await expectRefusal({ pass: await at.pass(changes({ other: other.cid })) }, { status, code })
  })

  test('for another provider is refused', async () => {
    const pass = await at.pass({ providers: [at.dev.providers.bob.address] })
    await expectRefusal({ pass }, { status: 401, code: 'pass_not_for_provider' })
  })

  test('that somebody altered is refused, field by field', async () => {
    const [kind, payload = '', signature] = (await at.pass()).split('.')
    const fields = JSON.parse(Buffer.from(payload, 'base64url').toString())
    const changes = { maxSpend: '99000000', maxPricePerCall: '2000', validBefore: fields.validBefore + 1 }
    for (const [name, value] of Object.entries(changes)) {
      const changed = base64url.encode(Buffer.from(JSON.stringify({ ...fields, [name]: value })))
      const pass = [kind, changed, signature].join('.')
      await expectRefusal({ pass }, { status: 401, code: 'pass_invalid' })
    }
  })

  test('in the name of a payer, signed by somebody else, is refused', async () => {
    const thief = privateKeyToAccount(generatePrivateKey())
    await expectRefusal({ pass: await at.pass({}, thief) }, { status: 401, code: 'pass_invalid' })
  })

  test('of another chain or escrow is refused', async () => {
    const { account } = at.dev.accounts.payer
    const fields = JSON.parse(Buffer.from((await at.pass()).split('.')[1] ?? '', 'base64url').toString())
    const pass: Pass = { ...fields, maxPricePerCall: usdc(1_000n), maxSpend: usdc(100_000n) }
    for (const market of [
      { ...at.market, chainId: 1 },
      { ...at.market, escrow: at.dev.contracts.usdc },
    ]) {
      const token = await signPass(pass, account, market)
      await expectRefusal({ pass: token }, { status: 401, code: 'pass_invalid' })
    }
  })

  test.each([
    ['nothing behind its mark', 'kp1.'],
    ['no signature', `kp1.${Buffer.from('{}').toString('base64url')}`],
    ['rubbish', 'kp1.%%%.###'],
    ['more bytes than a pass may have', `kp1.${'A'.repeat(limits.passBytesMax)}.AA`],
  ])('that is %s is refused', async (_what, pass) => {
    await expectRefusal({ pass }, { status: 401, code: 'pass_invalid' })
  })

  test('of a payer without a grant is refused, with the ways to get one', async () => {
    const { account } = await at.createPayer({ name: 'penniless', depositedUsdc: parseUsdc('1') })
    const pass = await at.pass({ payer: account.address }, account)
    await expectRefusal({ pass }, { status: 402, code: 'grant_missing' })
  })

  test('that is bad never falls back to the owner', async () => {
    const either = await at.deploy(echoProgram, '--payer', 'any')
    await at.call({ cid: either.cid })
    const pass = await at.pass({ validBefore: nowSeconds() - 1 })
    await expectRefusal({ cid: either.cid, pass }, { status: 401, code: 'pass_expired' })
  })
})

describe('a header that names a payer', () => {
  const names = ['x-payer', 'payer', 'khachapuri-payer', 'x-khachapuri-payer', 'from', 'payment', 'x-payment']
  const naming = () => names.flatMap((name) => [name, at.dev.accounts.payer.account.address])

  test('pays for nothing', async () => {
    await expectRefusal({ rawHeaders: naming() }, { status: 402, code: 'payment_required' })
  })

  test('does not make anybody else pay', async () => {
    const costs = await at.costsOf(async () => {
      expect((await at.call({ cid: paidByOwner.cid, rawHeaders: naming() })).status).toBe(200)
    })
    expect(costs).toEqual({ paid: { developer: 500n }, earned: { alice: 500n } })
  })
})

test('nobody pays: the answer says the price and every way to pay', async () => {
  const answer = await at.call({ cid: paidByCaller.cid })
  expect(answer.status).toBe(402)
  expect(answer.problem()).toMatchObject({
    code: 'payment_required',
    price: '500',
    asset: 'USDC',
    provider: at.dev.providers.alice.address,
    ...at.market,
    pay: [
      { way: 'pass', header: expect.stringContaining('Authorization: Bearer kp1.') },
      { way: 'voucher', header: expect.stringContaining('Khachapuri-Voucher: kv1.') },
      { way: 'grant', commands: expect.arrayContaining([expect.stringContaining('approve alice')]) },
      { way: 'credits', header: expect.stringContaining('Authorization: Bearer kp1.') },
      { way: 'x402', header: expect.stringContaining('PAYMENT-SIGNATURE') },
    ],
  })
  expect(answer.header('payment-required')).toMatch(/^[A-Za-z0-9+/]+=*$/)
})

describe.each(['alice', 'bob'])('an Idempotency-Key at %s', (provider) => {
  /** A call whose answer differs every time that the program really runs. */
  const count = (key: string, more: Parameters<TestMarket['call']>[0] = {}) =>
    at.call({
      provider,
      cid: paidByCaller.cid,
      path: '/instance',
      method: 'POST',
      body: 'same',
      rawHeaders: ['idempotency-key', key],
      ...more,
    })

  test('gives the same answer twice for one price', async () => {
    const pass = await at.pass()
    const key = randomUUID()
    const costs = await at.costsOf(async () => {
      const first = await count(key, { pass })
      const second = await count(key, { pass })
      expect([first.status, second.status]).toEqual([200, 200])
      expect(second.body.equals(first.body)).toBe(true)
      expect(second.header('khachapuri-call')).toBe(first.header('khachapuri-call'))
      expect([first.header('khachapuri-replayed'), second.header('khachapuri-replayed')]).toEqual([
        undefined,
        'true',
      ])
      expect(second.header('khachapuri-price')).toBe('0')
    })
    expect(costs).toEqual({ paid: { payer: 500n }, earned: { [provider]: 500n } })
  })

  test('holds for twenty that come at once', async () => {
    const pass = await at.pass()
    const key = randomUUID()
    const costs = await at.costsOf(async () => {
      const answers = await Promise.all(Array.from({ length: 20 }, () => count(key, { pass })))
      expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
      expect(answers.filter((answer) => answer.header('khachapuri-replayed') === undefined)).toHaveLength(1)
    })
    expect(costs).toEqual({ paid: { payer: 500n }, earned: { [provider]: 500n } })
  })

  test('is refused for another request', async () => {
    const pass = await at.pass()
    const key = randomUUID()
    await count(key, { pass })
    const changes = [{ body: 'other' }, { path: '/instance?x' }, { method: 'PUT' }]
    for (const change of changes)
      await expectRefusal({ ...callOf(key), ...change, pass }, { status: 409, code: 'idempotency_conflict' })
  })

  const callOf = (key: string) => ({
    provider,
    path: '/instance',
    method: 'POST',
    body: 'same',
    rawHeaders: ['idempotency-key', key],
  })

  test("is each payer's own", async () => {
    const mine = await at.pass()
    const grant = { priceUsdc: usdc(1_000n), budgetUsdc: usdc(10_000n) }
    const grants = Object.values(at.dev.providers).map(({ address }) => ({ provider: address, ...grant }))
    const { account } = await at.createPayer({ name: 'another', grants })
    const theirs = await at.pass({ payer: account.address }, account)
    const key = randomUUID()
    const costs = await at.costsOf(async () => {
      const texts = [(await count(key, { pass: mine })).text, (await count(key, { pass: theirs })).text]
      expect(texts[0]).not.toBe(texts[1])
    })
    expect(costs).toEqual({ paid: { payer: 500n, another: 500n }, earned: { [provider]: 1000n } })
  })

  test('that is empty or too long is refused', async () => {
    const pass = await at.pass()
    for (const key of ['', 'k'.repeat(limits.idempotencyKeyBytesMax + 1)])
      await expectRefusal({ ...callOf(key), pass }, { status: 400, code: 'bad_request' })
  })
})
