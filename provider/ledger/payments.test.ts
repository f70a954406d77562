import { expect, test } from 'vitest'
import { usdc, zeroUsdc } from '../../protocol/usdc.ts'
import {
  addressOf,
  chargeCall,
  claimOf,
  createTempDir,
  deployment,
  grantOf,
  openTestLedger,
  payer,
  provider,
  randomHex,
  receiptOf,
} from '../../test/support/money.ts'
import { meteredLane } from './lanes.ts'
import type { Ledger } from './ledger.ts'
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
    const ending = { state: 'mined', transaction } as const
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
  await ledger.payments.conclude(idOf(order), { state: 'mined', transaction })
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
  const ending = { state: 'mined', transaction: randomHex() } as const
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
