import { randomUUID } from 'node:crypto'
import { decodePaymentRequiredHeader } from '@x402/core/http'
import { decodePaymentResponseHeader, wrapFetchWithPayment } from '@x402/fetch'
import { encodeFunctionData, type LocalAccount } from 'viem'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createSender } from '../../devnet/contracts.ts'
import { assert } from '../../protocol/base/assert.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { limits } from '../../protocol/limits.ts'
import { usdc } from '../../protocol/usdc.ts'
import { parsePayment, parsePaymentRequired, parsePaymentResult } from '../../protocol/x402.ts'
import type { Provider } from '../../provider/provider.ts'
import { settlementPending } from '../../provider/x402/payment-desk.ts'
import { type Deployed, echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'
import { askUntil } from '../support/outage.ts'
import { openRpcProxy, type RpcHooks, type RpcProxy } from '../support/rpc-proxy.ts'
import {
  askTerms,
  createWallet,
  cutSignature,
  type PaymentChanges,
  payingFetch,
  sendPaid,
  signCancellation,
  signPayment,
  walletOf,
  x402ClientOf,
} from '../support/x402.ts'

/**
 * A stranger with USDC in a wallet and nothing else pays for calls, by x402's own client as it is. Balances are those of
 * the token, not of the escrow.
 */

const price = 500n
let at: TestMarket
let byCaller: Deployed
let byAny: Deployed
let byOwner: Deployed
beforeAll(async () => {
  at = await openMarket()
  byCaller = await at.deploy(echoProgram, '--payer', 'caller', '--timeout', '2000')
  byAny = await at.deploy(echoProgram)
  byOwner = await at.deploy(echoProgram, '--payer', 'owner')
})
afterAll(() => at[Symbol.asyncDispose]())

const alice = () => at.dev.providers.alice
const urlOf = ({ cid }: Deployed, path = '/') => new URL(`/${cid}${path}`, alice().url)
const answerOf = (body: string) => `/answer?body=${body}`
const nowSeconds = () => Math.floor(Date.now() / 1000)
const readReceipt = async (callId: string | null) =>
  (await fetch(new URL(`/_/receipts/${callId}`, alice().url))).json()

/** What an act moved: out of a wallet, and into alice's. */
async function movedBy(payer: LocalAccount, act: () => Promise<unknown>): Promise<readonly [bigint, bigint]> {
  const read = () => Promise.all([walletOf(at.dev, payer.address), walletOf(at.dev, alice().address)])
  const [payerBefore, aliceBefore] = await read()
  await act()
  const [payerAfter, aliceAfter] = await read()
  return [payerBefore - payerAfter, aliceAfter - aliceBefore]
}

const nothingMoved = [0n, 0n] as const

describe('an x402 client as it is', () => {
  test('pays a call: exactly the price moves from its wallet to the provider, and nothing in the escrow', async () => {
    const payer = await createWallet(at.dev)
    let callId: string | null = null
    const moved = await movedBy(payer, async () => {
      const costs = await at.costsOf(async () => {
        const response = await payingFetch(payer)(urlOf(byCaller, answerOf('paid')))
        expect([response.status, await response.text()]).toEqual([200, 'paid'])
        const result = decodePaymentResponseHeader(response.headers.get('payment-response') ?? '')
        expect(result).toMatchObject({ success: true, payer: payer.address, network: 'eip155:31337' })
        const hash = result.transaction as `0x${string}`
        const receipt = await at.dev.client.getTransactionReceipt({ hash })
        expect(receipt).toMatchObject({ status: 'success', from: alice().address.toLowerCase() })
        callId = response.headers.get('khachapuri-call')
      })
      expect(costs).toEqual(nothing)
    })
    expect(moved).toEqual([price, price])
    expect(await readReceipt(callId)).toMatchObject({
      callId,
      payer: payer.address,
      provider: alice().address,
      price: '500',
      outcome: 'answered',
      status: 200,
    })
  })

  test('pays for a body, again and again, and where the owner has nothing left to pay with', async () => {
    const payer = await createWallet(at.dev)
    const pay = payingFetch(payer)
    const ownerless = await at.deploy(echoProgram, '--owner-per-day', '0.0004')
    const moved = await movedBy(payer, async () => {
      for (const [deployed, text] of [
        [byCaller, 'one'],
        [byCaller, 'two'],
        [ownerless, 'three'],
      ] as const) {
        const response = await pay(urlOf(deployed, '/body'), { method: 'POST', body: text })
        expect([response.status, await response.text()]).toEqual([200, text])
      }
    })
    expect(moved).toEqual([3n * price, 3n * price])
  })

  test('reads an answer that is too large to wait for its payment; its end waits all the same', async () => {
    const payer = await createWallet(at.dev)
    const bytes = limits.idempotentAnswerBytesMax + 100_000
    const moved = await movedBy(payer, async () => {
      const response = await payingFetch(payer)(urlOf(byCaller, `/bytes/${bytes}`))
      expect((await response.arrayBuffer()).byteLength).toBe(bytes)
      expect(decodePaymentResponseHeader(response.headers.get('payment-response') ?? '')).toMatchObject({
        success: false,
        errorReason: 'settlement_pending',
        transaction: '',
      })
    })
    expect(moved).toEqual([price, price])
  })

  test('says which payment it means, and a second one by that name costs nothing', async () => {
    const payer = await createWallet(at.dev)
    const id = `pay_${randomUUID()}`
    const client = x402ClientOf(payer).registerExtension({
      key: 'payment-identifier',
      enrichPaymentPayload: async (payload) => ({
        ...payload,
        extensions: { 'payment-identifier': { info: { id } } },
      }),
    })
    const pay = wrapFetchWithPayment(fetch, client)
    const answers: unknown[] = []
    const moved = await movedBy(payer, async () => {
      for (let time = 0; time < 2; time += 1) {
        const response = await pay(urlOf(byCaller, '/instance'))
        answers.push([await response.text(), response.headers.get('payment-response')])
      }
      const other = await pay(urlOf(byCaller, '/instance?other'))
      expect(other.status).toBe(409)
    })
    expect(answers[1]).toEqual(answers[0])
    expect(moved).toEqual([price, price])
  })
})

describe('a payment that is not what was asked for', () => {
  const stranger = '0x00000000000000000000000000000000000000A1'
  const refusals: readonly (readonly [string, () => PaymentChanges, string])[] = [
    ['of less', () => ({ authorization: { value: '499' } }), 'payment_mismatch'],
    ['of more', () => ({ authorization: { value: '501' } }), 'payment_mismatch'],
    [
      'of less, and says so',
      () => ({ accepted: { amount: '1' }, authorization: { value: '1' } }),
      'payment_mismatch',
    ],
    ['to somebody else', () => ({ authorization: { to: stranger } }), 'payment_mismatch'],
    ['that says somebody else', () => ({ accepted: { payTo: stranger } }), 'payment_mismatch'],
    ['on another network', () => ({ accepted: { network: 'eip155:8453' } }), 'payment_mismatch'],
    ['of another token', () => ({ accepted: { asset: stranger } }), 'payment_mismatch'],
    ['of another scheme', () => ({ accepted: { scheme: 'upto' } }), 'payment_mismatch'],
    [
      'that has expired',
      () => ({ authorization: { validBefore: String(nowSeconds() - 1) } }),
      'payment_expired',
    ],
    [
      'that would end before the call could be settled',
      () => ({ authorization: { validBefore: String(nowSeconds() + 60) } }),
      'payment_expired',
    ],
    [
      'that is not valid yet',
      () => ({ authorization: { validAfter: String(nowSeconds() + 60) } }),
      'payment_expired',
    ],
    [
      'that is valid for ever',
      () => ({ authorization: { validBefore: String(nowSeconds() + 10 ** 9) } }),
      'payment_expired',
    ],
    ['signed for another chain', () => ({ domain: { chainId: 1 } }), 'payment_invalid'],
    ['signed for another token', () => ({ domain: { verifyingContract: stranger } }), 'payment_invalid'],
    ['that a contract would have to sign', () => ({ signature: `0x${'5a'.repeat(96)}` }), 'payment_invalid'],
    ['with no signature of anybody', () => ({ signature: `0x${'00'.repeat(65)}` }), 'payment_invalid'],
  ]
  test.each(refusals)(
    '%s is refused, with the terms once more, and nothing runs or moves',
    async (_what, changes, code) => {
      const payer = await createWallet(at.dev)
      const url = urlOf(byCaller, '/instance')
      const payment = await signPayment(await askTerms(url), payer, changes())
      const moved = await movedBy(payer, async () => {
        const answer = await sendPaid({ url, payment })
        expect(answer).toMatchObject({ status: 402, code, callId: null })
        expect(answer.headers.get('payment-required')).not.toBeNull()
      })
      expect(moved).toEqual(nothingMoved)
    },
  )

  test('is never made up for by the owner', async () => {
    const payment = await signPayment(await askTerms(urlOf(byCaller)), await createWallet(at.dev), {
      authorization: { value: '499' },
    })
    const costs = await at.costsOf(async () => {
      expect(await sendPaid({ url: urlOf(byAny), payment })).toMatchObject({
        status: 402,
        code: 'payment_mismatch',
      })
      expect(await sendPaid({ url: urlOf(byAny), payment: 'nonsense!' })).toMatchObject({
        code: 'payment_invalid',
      })
    })
    expect(costs).toEqual(nothing)
  })

  test('signed by somebody else in the name of a rich account is refused', async () => {
    const [rich, thief] = [await createWallet(at.dev), await createWallet(at.dev)]
    const url = urlOf(byCaller)
    const payment = await signPayment(await askTerms(url), thief, { authorization: { from: rich.address } })
    expect(
      await movedBy(rich, async () => {
        expect(await sendPaid({ url, payment })).toMatchObject({ status: 402, code: 'payment_invalid' })
      }),
    ).toEqual(nothingMoved)
  })
})

test('a wallet that holds less than the price buys nothing, and one that holds the price buys one call of ten', async () => {
  const url = urlOf(byCaller, '/instance')
  const terms = await askTerms(url)
  const poor = await createWallet(at.dev, usdc(price - 1n))
  expect(await sendPaid({ url, payment: await signPayment(terms, poor) })).toMatchObject({
    status: 402,
    code: 'balance_too_low',
  })
  const payer = await createWallet(at.dev, usdc(price))
  const moved = await movedBy(payer, async () => {
    const payments = await Promise.all(Array.from({ length: 10 }, () => signPayment(terms, payer)))
    const answers = await Promise.all(payments.map((payment) => sendPaid({ url, payment })))
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
    const refused = answers.filter(({ status }) => status !== 200)
    expect(refused.map(({ code }) => code)).toEqual(Array(9).fill('balance_too_low'))
  })
  expect(moved).toEqual([price, price])
})

describe('the same payment again', () => {
  test('gives the same answer and costs nothing, one after the other and ten at once', async () => {
    const payer = await createWallet(at.dev)
    const url = urlOf(byCaller, '/instance')
    const payment = await signPayment(await askTerms(url), payer)
    const moved = await movedBy(payer, async () => {
      const answers = await Promise.all(Array.from({ length: 10 }, () => sendPaid({ url, payment })))
      const later = await sendPaid({ url, payment })
      for (const answer of [...answers, later]) {
        expect(answer).toMatchObject({
          status: 200,
          text: later.text,
          callId: later.callId,
          result: later.result,
        })
      }
      expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1)
      expect(later.result).toMatchObject({ success: true, payer: payer.address })
    })
    expect(moved).toEqual([price, price])
  })

  test('with another request is refused, whatever differs, and costs nothing', async () => {
    const payer = await createWallet(at.dev)
    const url = urlOf(byCaller, '/body')
    const payment = await signPayment(await askTerms(url), payer)
    const first = { url, payment, method: 'POST', body: 'first' }
    const moved = await movedBy(payer, async () => {
      expect(await sendPaid(first)).toMatchObject({ status: 200, text: 'first' })
      const others = [
        { ...first, body: 'other' },
        { ...first, method: 'PUT' },
        { ...first, url: urlOf(byCaller, '/body?more') },
        { ...first, url: urlOf(byAny, '/body') },
        { ...first, headers: { authorization: 'Basic YTpi' } },
      ]
      for (const other of others)
        expect(await sendPaid(other)).toMatchObject({ status: 409, code: 'payment_conflict' })
    })
    expect(moved).toEqual([price, price])
  })

  test('after somebody else has taken it to the chain buys nothing more', async () => {
    const payer = await createWallet(at.dev)
    const url = urlOf(byCaller, '/instance')
    const payment = await signPayment(await askTerms(url), payer)
    await submitByStranger(payment)
    expect(
      await movedBy(payer, async () => {
        expect(await sendPaid({ url, payment })).toMatchObject({ status: 409, code: 'payment_used' })
      }),
    ).toEqual(nothingMoved)
  })
})

/** Anybody who sees a payment can take it to the chain. */
async function submitByStranger(payment: string): Promise<void> {
  const { authorization: a, signature } = parsePayment(payment)
  const { client, accounts, contracts } = at.dev
  const deps = { client, clock: systemClock, log: createTestLog() }
  const stranger = createSender(deps, accounts.deployer.account, contracts.chainId)
  const data = encodeFunctionData({
    abi: devUsdcAbi,
    functionName: 'transferWithAuthorization',
    args: [
      a.from,
      a.to,
      a.valueUsdc,
      BigInt(a.validAfter),
      BigInt(a.validBefore),
      a.nonce,
      ...cutSignature(signature),
    ],
  })
  await stranger.run({ label: 'take a payment', to: contracts.usdc, data }, new AbortController().signal)
}

describe('a call that fails', () => {
  test.each([
    ['throws', '/throw', 502, 'program_crashed'],
    ['takes too long', '/hang', 504, 'program_timeout'],
  ])(
    'because the program %s moves nothing, and its payment pays for nothing more',
    async (_what, path, status, code) => {
      const payer = await createWallet(at.dev)
      const url = urlOf(byCaller, path)
      const payment = await signPayment(await askTerms(url), payer)
      const moved = await movedBy(payer, async () => {
        const answer = await sendPaid({ url, payment })
        expect(answer).toMatchObject({ status, code, result: undefined })
        expect(await readReceipt(answer.callId)).toMatchObject({
          payer: payer.address,
          price: '0',
          outcome: code,
        })
        expect(await sendPaid({ url, payment })).toMatchObject({ status: 409, code: 'payment_used' })
      })
      expect(moved).toEqual(nothingMoved)
    },
  )
})

test('where only the owner may pay, payments are the program’s affair: none is asked for, taken or hidden', async () => {
  const payer = await createWallet(at.dev)
  const payment = await signPayment(await askTerms(urlOf(byCaller)), payer)
  const moved = await movedBy(payer, async () => {
    const costs = await at.costsOf(async () => {
      const answer = await sendPaid({ url: urlOf(byOwner), payment })
      expect(answer).toMatchObject({ status: 200, result: undefined })
      expect(answer.text).toContain(payment)
    })
    expect(costs).toEqual({ paid: { developer: price }, earned: { alice: price } })
  })
  expect(moved).toEqual(nothingMoved)
})

test('where callers may pay, the program neither sees a payment nor speaks for the provider', async () => {
  const payer = await createWallet(at.dev)
  const url = urlOf(byCaller, '/answer?header=payment-response:forged&header=payment-required:forged')
  const terms = await askTerms(url)
  const answer = await sendPaid({ url, payment: await signPayment(terms, payer) })
  expect(answer.result).toMatchObject({ success: true })
  expect(answer.headers.has('payment-required')).toBe(false)
  const payment = await signPayment(terms, payer)
  expect((await sendPaid({ url: urlOf(byCaller), payment })).text).not.toContain(payment)
})

test('a payment comes before a pass, so that a client whose pass is spent can go on', async () => {
  const payer = await createWallet(at.dev)
  const spent = await at.pass({ maxSpend: usdc(1n) })
  const headers = { authorization: `Bearer ${spent}` }
  const moved = await movedBy(payer, async () => {
    const response = await payingFetch(payer)(urlOf(byCaller, answerOf('on')), { headers })
    expect([response.status, await response.text()]).toEqual([200, 'on'])
  })
  expect(moved).toEqual([price, price])
})

test('through a gateway and a tunnel it is the same, and the terms name the URL that was called', async () => {
  const both = await at.deploy(echoProgram, '--provider', 'alice', '--provider', 'bob', '--payer', 'caller')
  const payer = await createWallet(at.dev)
  for (const provider of ['alice', 'bob'] as const) {
    const earner = at.dev.providers[provider].address
    const before = await walletOf(at.dev, earner)
    const call = { provider, cid: both.cid, path: '/answer?body=far' }
    const required = (await at.call(call)).header('payment-required') ?? ''
    expect(decodePaymentRequiredHeader(required).resource.url).toBe(
      `http://${provider}.${at.dev.gateway.domain}/${both.cid}/answer?body=far`,
    )
    const [terms] = parsePaymentRequired(required)
    assert(terms, 'the terms can be met')
    const rawHeaders = ['PAYMENT-SIGNATURE', await signPayment(terms, payer)]
    const answer = await at.call({ ...call, rawHeaders })
    expect([answer.status, answer.text]).toEqual([200, 'far'])
    expect(parsePaymentResult(answer.header('payment-response') ?? '')).toMatchObject({ success: true })
    expect(await walletOf(at.dev, earner)).toBe(before + price)
  }
})

describe('at a provider whose way to the chain is in our hands', () => {
  const hooks: { before: RpcHooks['before']; after: RpcHooks['after'] } = {
    before: undefined,
    after: undefined,
  }
  let rpc: RpcProxy
  let carol: Provider
  let deployed: Deployed
  beforeAll(async () => {
    rpc = await openRpcProxy(at.dev.chain.rpcUrl, {
      before: (call) => hooks.before?.(call),
      after: (call) => hooks.after?.(call),
    })
    carol = await at.startProvider('carol', { rpcUrls: [rpc.url], x402WaitMs: 1_500, mirrorIntervalMs: 20 })
    deployed = await at.deploy(echoProgram, '--provider', 'carol', '--payer', 'caller')
  })
  afterEach(() => {
    hooks.before = undefined
    hooks.after = undefined
  })
  afterAll(() => rpc[Symbol.asyncDispose]())

  const urlAtCarol = (path = '/instance') => new URL(`/${deployed.cid}${path}`, carol.url)
  const prepare = async (amountUsdc = usdc(price), identifier?: string) => {
    const payer = await createWallet(at.dev, amountUsdc)
    const changes = identifier === undefined ? {} : { identifier }
    const payment = await signPayment(await askTerms(urlAtCarol()), payer, changes)
    return { payer, payment, send: () => sendPaid({ url: urlAtCarol(), payment }) }
  }
  const readCarolsReceipt = async (callId: string | null) =>
    (await fetch(new URL(`/_/receipts/${callId}`, carol.url))).json()

  test('nothing runs on a payment that the chain cannot be asked about; later the same payment pays', async () => {
    const { payer, send } = await prepare()
    rpc.cut()
    for (let time = 0; time < 3; time += 1)
      expect(await send()).toMatchObject({ status: 503, code: 'chain_unreachable', callId: null })
    rpc.restore()
    expect(await walletOf(at.dev, payer.address)).toBe(price)
    expect(await send()).toMatchObject({ status: 200, replayed: false, result: { success: true } })
    expect(await walletOf(at.dev, payer.address)).toBe(0n)
  })

  test('a payer who empties its wallet while the program runs gets no answer and is not charged', async () => {
    const { payer, send } = await prepare()
    const earned = await walletOf(at.dev, carol.address)
    await at.dev.chain.fund(payer.address)
    hooks.before = async ({ method }) => {
      if (method !== 'eth_estimateGas') return
      hooks.before = undefined
      await sendBy(payer, 'transfer', [at.dev.accounts.deployer.account.address, price])
    }
    const answer = await send()
    expect(answer).toMatchObject({
      status: 402,
      code: 'payment_failed',
      result: { success: false, errorReason: 'insufficient_funds' },
    })
    expect(await readCarolsReceipt(answer.callId)).toMatchObject({
      price: '0',
      outcome: 'payment_failed',
      status: 402,
    })
    expect(await send()).toMatchObject({ status: 409, code: 'payment_used' })
    expect(await walletOf(at.dev, carol.address)).toBe(earned)
  })

  test('a payer who cancels its authorization while the program runs gets no answer either', async () => {
    const { payer, payment, send } = await prepare()
    await at.dev.chain.fund(payer.address)
    hooks.before = async ({ method }) => {
      if (method !== 'eth_estimateGas') return
      hooks.before = undefined
      await cancel(payer, payment)
    }
    expect(await send()).toMatchObject({
      status: 402,
      code: 'payment_failed',
      result: { success: false, errorReason: 'cancelled' },
    })
    expect(await walletOf(at.dev, payer.address)).toBe(price)
  })

  test.each([
    ['somebody else', (payer: LocalAccount) => ({ to: payer.address, value: `${price}` })],
    ['less of it to the provider', () => ({ value: `${price - 1n}` })],
  ])(
    'a payer who spends the nonce to pay %s meanwhile has not paid, and gets no answer',
    async (_, change) => {
      const { payer, payment, send } = await prepare()
      const { nonce } = parsePayment(payment).authorization
      const authorization = { ...change(payer), nonce }
      const other = await signPayment(await askTerms(urlAtCarol()), payer, { authorization })
      hooks.before = async ({ method }) => {
        if (method !== 'eth_estimateGas') return
        hooks.before = undefined
        await submitByStranger(other)
      }
      const answer = await send()
      expect(answer).toMatchObject({
        status: 402,
        code: 'payment_failed',
        result: { success: false, errorReason: 'cancelled' },
      })
      expect(await readCarolsReceipt(answer.callId)).toMatchObject({ price: '0', outcome: 'payment_failed' })
    },
  )

  test('who takes the payment to the chain first, instead of the provider, has paid the call', async () => {
    const { payer, payment, send } = await prepare()
    hooks.before = async ({ method }) => {
      if (method !== 'eth_estimateGas') return
      hooks.before = undefined
      await submitByStranger(payment)
    }
    const answer = await send()
    expect(answer).toMatchObject({ status: 200, result: { success: true } })
    expect(await readCarolsReceipt(answer.callId)).toMatchObject({ price: '500', outcome: 'answered' })
    expect(await walletOf(at.dev, payer.address)).toBe(0n)
  })

  test('a transaction of which nobody knows does not hold the answer for ever, and is never asked for twice', async () => {
    const { payer, send } = await prepare()
    const identifier = `pay_${randomUUID()}`
    let isOpen = false
    const offered = Promise.withResolvers<void>()
    hooks.before = ({ method }) => {
      if (method === 'eth_sendRawTransaction' && !isOpen) throw new Error('lost on the way')
    }
    hooks.after = ({ method }) => {
      if (method === 'eth_sendRawTransaction') offered.resolve()
    }
    const first = await send()
    expect(first).toMatchObject({
      status: 200,
      result: { success: false, errorReason: 'settlement_pending', payer: payer.address },
    })
    const { transaction } = first.result ?? {}
    expect(transaction).toMatch(/^0x[0-9a-f]{64}$/)
    expect(await readCarolsReceipt(first.callId)).toMatchObject({ price: '500', outcome: 'answered' })
    expect(await send()).toMatchObject({
      status: 200,
      text: first.text,
      replayed: true,
      result: first.result,
    })
    // The wallet still holds the price, and it is spoken for.
    const other = await signPayment(await askTerms(urlAtCarol()), payer)
    expect(await sendPaid({ url: urlAtCarol(), payment: other })).toMatchObject({
      status: 402,
      code: 'balance_too_low',
    })

    // Nor by a payment that has the same name: it is the same call.
    const named = await prepare(usdc(price), identifier)
    expect(await named.send()).toMatchObject({ status: 200, result: { errorReason: settlementPending } })
    const renamed = await signPayment(await askTerms(urlAtCarol()), named.payer, { identifier })
    expect(await sendPaid({ url: urlAtCarol(), payment: renamed })).toMatchObject({
      status: 200,
      replayed: true,
      result: { success: false, errorReason: settlementPending },
    })

    isOpen = true
    await offered.promise
    const settled = await askUntil(send, ({ result }) => result?.success === true)
    expect(settled).toMatchObject({ text: first.text, replayed: true, result: { transaction } })
    expect(await walletOf(at.dev, payer.address)).toBe(0n)
  })
})

async function sendBy(
  account: LocalAccount,
  functionName: 'transfer' | 'cancelAuthorization',
  args: readonly unknown[],
): Promise<void> {
  const { client, contracts } = at.dev
  const deps = { client, clock: systemClock, log: createTestLog() }
  const data = encodeFunctionData({ abi: devUsdcAbi, functionName, args } as never)
  const call = { label: functionName, to: contracts.usdc, data }
  await createSender(deps, account, contracts.chainId).run(call, new AbortController().signal)
}

/** By the payer's signature, as EIP-3009 has it. */
async function cancel(payer: LocalAccount, payment: string): Promise<void> {
  const { nonce } = parsePayment(payment).authorization
  const signature = await signCancellation(await askTerms(urlOf(byCaller)), payer, nonce)
  await sendBy(payer, 'cancelAuthorization', [payer.address, nonce, ...cutSignature(signature)])
}
