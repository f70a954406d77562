import { setImmediate } from 'node:timers/promises'
import type { LocalAccount } from 'viem'
import { expect, test } from 'vitest'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { parsePayment } from '../../protocol/x402.ts'
import type { PaymentId } from '../../provider/ledger/records.ts'
import { signPayment } from '../support/x402.ts'
import { answer, type DeskProcess, openTestDesk, price, type TestDesk } from '../support/x402-desk.ts'

/** A payment is in a block, its answer is out, and then the block is gone. */

interface PaidAndGone {
  readonly payer: LocalAccount
  readonly header: string
  readonly id: PaymentId
}

/** Pays a call and takes the chain back to where it was before; what comes next makes another history. */
async function payAndReorganise(
  s: TestDesk,
  p: DeskProcess,
  untilThen = async () => {},
): Promise<PaidAndGone> {
  const payer = await s.createWallet(price)
  s.setSafeBlock(await newestBlock(s))
  const goBack = await s.chain.fork()
  const header = await signPayment(s.terms, payer)
  const { receipt, charge } = await p.reserve(header)
  expect(await charge(receipt, { key: undefined, answer })).toMatchObject({ result: { success: true } })
  expect(await s.walletOf(payer.address)).toBe(0n)
  await untilThen()
  await goBack()
  // Another second makes other blocks.
  await s.chain.wait(1)
  expect(await s.walletOf(payer.address)).toBe(price)
  return { payer, header, id: { payer: payer.address, nonce: parsePayment(header).authorization.nonce } }
}

const newestBlock = ({ chain }: TestDesk) => chain.client.getBlockNumber({ cacheTime: 0 })

/** All that there is gets safe, and time goes on. */
async function goOnUntil(s: TestDesk, isDone: () => Promise<boolean>): Promise<void> {
  while (!(await isDone())) {
    s.setSafeBlock(await newestBlock(s))
    await s.clock.advance(1_000)
    await setImmediate()
  }
}

const stateOf = async ({ ledger }: DeskProcess, id: PaymentId) => (await ledger.payments.find(id))?.state
const isFinal = (p: DeskProcess, id: PaymentId) => async () => (await stateOf(p, id)) === 'final'

test('a payment is final when its block is safe, and not before', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payer = await s.createWallet()
  s.setSafeBlock(await newestBlock(s))
  const header = await signPayment(s.terms, payer)
  const { receipt, charge } = await p.reserve(header)
  await charge(receipt, { key: undefined, answer })
  const id = { payer: payer.address, nonce: parsePayment(header).authorization.nonce }
  const asked = s.rpc.calls.length
  for (let time = 0; time < 10; time += 1) await s.clock.advance(1_000)
  expect(await stateOf(p, id)).toBe('mined')
  expect(s.rpc.calls.length).toBe(asked)
  await goOnUntil(s, isFinal(p, id))
  expect(await p.ledger.payments.find(id)).toMatchObject({ transaction: expect.any(String), answer })
})

test('what a re-org took away is offered again, and paid once', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { payer, id } = await payAndReorganise(s, p)
  await goOnUntil(s, isFinal(p, id))
  expect([await s.walletOf(payer.address), await s.walletOf(s.provider)]).toEqual([0n, price])
  expect(s.log.lines.map(({ event }) => event)).toContain('payment_unmined')
  expect(p.x402.status()).toEqual({ open: 0, lost: 0, lostUsdc: 0n })
})

test('also where the provider was away when it happened', async () => {
  await using s = await openTestDesk()
  const before = await s.start()
  const { payer, id } = await payAndReorganise(s, before, async () => await before[Symbol.asyncDispose]())
  await using p = await s.start()
  await goOnUntil(s, isFinal(p, id))
  expect([await s.walletOf(payer.address), await s.walletOf(s.provider)]).toEqual([0n, price])
})

test('the same transaction in a later block is waited for until that one is safe', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { id } = await payAndReorganise(s, p)
  const [signed] = await p.ledger.transactions.readByPurpose(`x402:${id.payer}:${id.nonce}`)
  const seenAt = signed?.blockNumber ?? 0n
  for (let block = 0; block < 3; block += 1) await s.chain.mine()
  await s.chain.client.sendRawTransaction({ serializedTransaction: signed!.raw })
  s.setSafeBlock(seenAt)
  for (let time = 0; time < 10; time += 1) await s.clock.advance(1_000)
  expect(await stateOf(p, id)).toBe('mined')
  await goOnUntil(s, isFinal(p, id))
  expect(s.log.lines.map(({ event }) => event)).not.toContain('payment_unmined')
})

test('a payer who empties its wallet in the other history has not paid: log and status say so', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { payer, header, id } = await payAndReorganise(s, p)
  await s.chain.unlock(payer.address)
  const token = { from: payer.address, to: s.chain.usdc, abi: devUsdcAbi } as const
  await s.chain.send({ ...token, functionName: 'transfer', args: [s.chain.escrow, price] })
  await goOnUntil(s, async () => (await stateOf(p, id)) === 'submitted')
  // The money may still come until the authorization ends.
  await s.chain.wait(2 * s.terms.maxTimeoutSeconds)
  await goOnUntil(s, async () => p.x402.status().lost > 0)
  expect(p.x402.status()).toEqual({ open: 0, lost: 1, lostUsdc: price })
  expect(s.log.lines).toContainEqual({
    level: 'error',
    event: 'payment_lost',
    facts: expect.objectContaining({ payer: payer.address, amount: '0.0005', reason: 'expired' }),
  })
  await goOnUntil(s, async () => (await stateOf(p, id)) === 'released')
  const { payment } = await p.x402.read(header, { headers: {}, socket: { remoteAddress: '203.0.113.1' } })
  const { deployment, requestDigest } = (await p.ledger.payments.find(id))!
  const signal = new AbortController().signal
  using held = await p.x402.desk.hold(payment, { deployment, requestDigest }, signal)
  await expect(held.findAnswer()).rejects.toMatchObject({ code: 'payment_used' })
})

test('so has one who takes the payment back there, and that is known at once', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const { payer, id } = await payAndReorganise(s, p)
  await s.cancel(payer, id.nonce)
  await goOnUntil(s, async () => p.x402.status().lost > 0)
  expect(s.log.lines).toContainEqual({
    level: 'error',
    event: 'payment_lost',
    facts: expect.objectContaining({ payer: payer.address, reason: 'cancelled' }),
  })
})
