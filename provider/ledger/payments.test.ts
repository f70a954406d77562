import type { Address } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { usdc, zeroUsdc } from '../../protocol/usdc.ts'
import {
  addressOf,
  chargeCall,
  claimOf,
  createTempDir,
  deployment,
  grantOf,
  market,
  never,
  openTestLedger,
  payer,
  provider,
  providerAccount,
  randomHex,
  receiptOf,
} from '../../test/support/money.ts'
import { meteredLane } from './lanes.ts'
import { type Ledger, openLedger } from './ledger.ts'
import type { PaymentId, PaymentOrder, StoredAnswer } from './records.ts'

const answer: StoredAnswer = { status: 200, rawHeaders: ['X-A', '1'], body: new Uint8Array([1, 2, 3]) }

function orderOf(changes: Partial<PaymentOrder['authorization']> = {}): PaymentOrder {
  return {
    callId: randomHex(),
    authorization: {
      from: payer,
      to: provider,
      valueUsdc: usdc(500n),
      validAfter: 0,
      validBefore: 2_000_000_000,
      nonce: randomHex(),
      ...changes,
    },
    signature: `0x${'5a'.repeat(65)}`,
    deployment,
    requestDigest: randomHex(),
    fromBlock: 7n,
  }
}

const idOf = ({ authorization: { from, nonce } }: PaymentOrder): PaymentId => ({ payer: from, nonce })
const receiptFor = ({ callId }: PaymentOrder) => receiptOf(claimOf({ callId }))

async function execute(ledger: Ledger, order: PaymentOrder): Promise<void> {
  expect(await ledger.payments.reserve(order)).toBe(true)
  await ledger.payments.execute({ id: idOf(order), receipt: receiptFor(order), key: undefined, answer })
}

test('an authorization is reserved once, by whichever call; another of the same payer is another payment', async () => {
  using dir = createTempDir()
  const order = orderOf()
  {
    await using ledger = await openTestLedger(dir.path)
    const tries = Array.from({ length: 10 }, () => ledger.payments.reserve({ ...order, callId: randomHex() }))
    expect((await Promise.all(tries)).filter(Boolean)).toHaveLength(1)
    expect(await ledger.payments.reserve(orderOf())).toBe(true)
    expect(await ledger.payments.reserve({ ...orderOf({ from: addressOf(9) }), callId: randomHex() })).toBe(
      true,
    )
  }
  await using ledger = await openTestLedger(dir.path)
  expect(await ledger.payments.reserve({ ...order, callId: randomHex() })).toBe(false)
})

test('what never ran is forgotten; what ran may not be', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const order = orderOf()
  await ledger.payments.reserve(order)
  await ledger.payments.cancel(idOf(order))
  expect(await ledger.payments.find(idOf(order))).toBeUndefined()
  await execute(ledger, order)
  await ledger.payments.cancel(idOf(order))
  expect(await ledger.payments.find(idOf(order))).toMatchObject({ state: 'executed', answer })
  await expect(
    ledger.payments.execute({ id: idOf(order), receipt: receiptFor(order), key: undefined, answer }),
  ).rejects.toMatchObject({ code: 'ledger_unavailable' })
})

test('after a crash, a call that had not ended is released, and one that had is still to be settled, whole', async () => {
  using dir = createTempDir()
  const [running, executed, submitted, mined] = [orderOf(), orderOf(), orderOf(), orderOf()] as const
  const transaction = randomHex()
  {
    await using ledger = await openTestLedger(dir.path)
    await ledger.payments.reserve(running)
    for (const order of [executed, submitted, mined]) await execute(ledger, order)
    for (const order of [submitted, mined]) await ledger.payments.submit(idOf(order), transaction)
    const ending = { state: 'mined', transaction, blockNumber: 9n } as const
    const booking = { id: idOf(mined), receipt: receiptFor(mined), ending, key: undefined, answer }
    await ledger.payments.book(booking)
  }
  await using ledger = await openTestLedger(dir.path)
  expect(await ledger.payments.recover()).toEqual([
    {
      ...executed,
      state: 'executed',
      isBooked: false,
      transaction: undefined,
      reason: undefined,
      receipt: receiptFor(executed),
      key: undefined,
      answer,
    },
    expect.objectContaining({ callId: submitted.callId, state: 'submitted', transaction }),
  ])
  expect(await ledger.payments.find(idOf(running))).toMatchObject({
    state: 'released',
    reason: 'interrupted',
  })
  expect(await ledger.payments.findByCall(mined.callId)).toMatchObject({
    state: 'mined',
    isBooked: true,
    transaction,
  })
})

test('what was decided stays: a later word changes neither a paid nor a released payment', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const order = orderOf()
  await execute(ledger, order)
  const transaction = randomHex()
  await ledger.payments.conclude(idOf(order), { state: 'mined', transaction, blockNumber: 9n })
  await ledger.payments.conclude(idOf(order), { state: 'released', reason: 'expired' })
  await ledger.payments.submit(idOf(order), randomHex())
  expect(await ledger.payments.find(idOf(order))).toMatchObject({
    state: 'mined',
    transaction,
    reason: undefined,
  })
})

test('a receipt that was paid by itself is no part of what the payer owes, nor of a settlement', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const byGrant = await chargeCall(ledger)
  const order = orderOf()
  await execute(ledger, order)
  const ending = { state: 'mined', transaction: randomHex(), blockNumber: 9n } as const
  const receipt = receiptFor(order)
  await ledger.payments.book({ id: idOf(order), receipt, ending, key: undefined, answer })
  await chargeCall(ledger)

  expect(await ledger.readReceipt(order.callId)).toEqual(receipt)
  expect(ledger.unsettled(() => grantOf())).toMatchObject([{ amountUsdc: 1_000n, calls: 2 }])
  const atChain = { spentUsdc: zeroUsdc, calls: 0, priceUsdc: usdc(1_000n) }
  const candidate = { ...meteredLane(payer), voucher: undefined, ...atChain }
  const batch = await ledger.batches.create({ candidates: [candidate], receiptsMax: 100 })
  expect(batch).toMatchObject({ receipts: 2, rows: [{ payer: byGrant.payer, amountUsdc: 1_000n, calls: 2 }] })
})

test('a mined payment is looked for again from its block on, and is final, moved or still to be settled then', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const orders = [orderOf(), orderOf(), orderOf(), orderOf()] as const
  for (const [index, order] of orders.entries()) {
    await execute(ledger, order)
    const ending = { state: 'mined', transaction: randomHex(), blockNumber: 10n + BigInt(index) } as const
    await ledger.payments.conclude(idOf(order), ending)
  }
  const minedUntil = async (block: bigint) =>
    (await ledger.payments.readMined(block)).map(({ callId }) => orders.findIndex((o) => o.callId === callId))
  expect(await minedUntil(9n)).toEqual([])
  expect(await minedUntil(12n)).toEqual([0, 1, 2])
  const [first, moved, gone] = orders
  await ledger.payments.placeMined(idOf(first), { isFinal: true })
  await ledger.payments.placeMined(idOf(moved), { isFinal: false, blockNumber: 20n })
  await ledger.payments.placeMined(idOf(gone), undefined)
  expect(await minedUntil(19n)).toEqual([3])
  expect(await minedUntil(20n)).toEqual([1, 3])
  expect((await ledger.payments.recover()).map(({ callId }) => callId)).toEqual([gone.callId])
  // What is final stays, and what is gone may be paid in another block.
  await ledger.payments.placeMined(idOf(first), undefined)
  await ledger.payments.conclude(idOf(first), { state: 'released', reason: 'expired' })
  expect(await ledger.payments.find(idOf(first))).toMatchObject({ state: 'final' })
  const transaction = randomHex()
  await ledger.payments.conclude(idOf(gone), { state: 'mined', transaction, blockNumber: 30n })
  expect(await ledger.payments.find(idOf(gone))).toMatchObject({ state: 'mined', transaction })
})

test('strangers without number who pay once leave no account in memory, and one who then makes a grant is charged by it', async () => {
  using dir = createTempDir()
  const strangers = Array.from({ length: 50 }, (_, index) => addressOf(1_000 + index))
  const payOnce = async (ledger: Ledger, from: Address) => {
    const order = orderOf({ from })
    await execute(ledger, order)
    const receipt = receiptOf(claimOf({ callId: order.callId, payer: { kind: 'owner', address: from } }))
    const ending = { state: 'mined', transaction: randomHex(), blockNumber: 9n } as const
    await ledger.payments.book({ id: idOf(order), receipt, ending, key: undefined, answer: undefined })
    return receipt
  }
  const receipts: Receipt[] = []
  {
    await using ledger = await openTestLedger(dir.path)
    for (const stranger of strangers) receipts.push(await payOnce(ledger, stranger))
  }
  const log = createTestLog()
  const identity = { account: providerAccount, market }
  await using ledger = await openLedger({ clock: systemClock, log }, { dir: dir.path, ...identity }, never)
  expect(log.lines.find(({ event }) => event === 'ledger_opened')?.facts).toMatchObject({
    receipts: 50,
    payers: 0,
  })
  for (const receipt of receipts) expect(await ledger.readReceipt(receipt.callId)).toEqual(receipt)

  const [first] = strangers
  const payerOf = { kind: 'owner', address: first! } as const
  const grant = grantOf({ payer: first! })
  await chargeCall(ledger, { payer: payerOf, grant })
  await payOnce(ledger, first!)
  await chargeCall(ledger, { payer: payerOf, grant })
  expect(ledger.unsettled(() => grant)).toMatchObject([{ payer: first, amountUsdc: 1_000n, calls: 2 }])
})

test('after a day a final payment is who paid what by which transaction, and still cannot be used again', async () => {
  using dir = createTempDir()
  const clock = createTestClock()
  await using ledger = await openTestLedger(dir.path, clock)
  const [final, mined] = [orderOf(), orderOf()] as const
  const transaction = randomHex()
  for (const order of [final, mined]) {
    await execute(ledger, order)
    await ledger.payments.conclude(idOf(order), { state: 'mined', transaction, blockNumber: 9n })
  }
  await ledger.payments.placeMined(idOf(final), { isFinal: true })
  await clock.advance(limits.idempotentAnswerAgeMsMax + 1)
  await ledger.payments.reserve(orderOf())
  const { signature: _, ...kept } = final
  expect(await ledger.payments.find(idOf(final))).toMatchObject({
    ...kept,
    ...{ state: 'final', transaction, signature: '0x', receipt: undefined, answer: undefined },
  })
  expect(await ledger.payments.find(idOf(mined))).toMatchObject({ ...mined, state: 'mined', answer })
  expect(await ledger.payments.reserve({ ...final, callId: randomHex() })).toBe(false)
})
