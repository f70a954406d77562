import type { Hex, LocalAccount } from 'viem'
import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import { parsePayment } from '../../protocol/x402.ts'
import { type PaymentChanges, signPayment } from '../support/x402.ts'
import { type DeskProcess, deployWallet, openTestDesk, price, type TestDesk } from '../support/x402-desk.ts'

/** What strangers can make a provider do by payments that pay nothing, on a clock that stands still. */

const crowd = 120
const [here, elsewhere] = ['203.0.113.1', '203.0.113.66']
const everywhere = (index: number) => `198.51.100.${index}`

const nobodysSignature: Hex = `0x${'5a'.repeat(96)}`

const createWallets = (s: TestDesk, count: number): Promise<LocalAccount[]> =>
  Promise.all(Array.from({ length: count }, () => s.createWallet(0n)))

/** Sends all at once. @returns how many ended with each code, and how much was asked of the chain for them */
async function sendAll(
  s: TestDesk,
  p: DeskProcess,
  headers: readonly string[],
  from: (index: number) => string = () => here,
) {
  const before = s.rpc.calls.length
  const codes: Record<string, number> = {}
  const ends = headers.map((header, index) =>
    p.reserve(header, { from: from(index) }).then(
      () => 'reserved',
      (error) => error.code as string,
    ),
  )
  for (const code of await Promise.all(ends)) codes[code] = (codes[code] ?? 0) + 1
  return { codes, requests: s.rpc.calls.length - before }
}

test('payments that a contract would have to sign ask the chain so often and no more, whoever they name', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payers = await createWallets(s, crowd)
  const forge = (payer: LocalAccount) => signPayment(s.terms, payer, { signature: nobodysSignature })
  const { codes, requests } = await sendAll(s, p, await Promise.all(payers.map(forge)), everywhere)
  const lost = limits.x402LooksLostPerSecondMax
  expect(codes).toEqual({ payment_invalid: lost, too_many_requests: crowd - lost })
  expect(requests).toBe(lost)
})

test('from one place they are fewer, and the payer in whose name they come is served elsewhere', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const key = await s.createWallet()
  const contract = await deployWallet(s.chain, key.address)
  await s.mint(contract, 1_000_000n)
  const byContract = { authorization: { from: contract } }
  const forge = (as: PaymentChanges) =>
    Promise.all(
      Array.from({ length: 40 }, () => signPayment(s.terms, key, { ...as, signature: nobodysSignature })),
    )
  const { codes, requests } = await sendAll(s, p, await forge(byContract), () => elsewhere)
  const lost = limits.x402LooksLostPerSourcePerSecondMax
  expect(codes).toEqual({ payment_invalid: lost, too_many_requests: 40 - lost })
  expect(requests).toBe(lost)
  for (const as of [byContract, {}]) {
    await sendAll(s, p, await forge(as), () => elsewhere)
    expect(await p.pay(key, as)).toMatchObject({ refusal: undefined, result: { success: true } })
  }
})

test('empty wallets without number ask the chain so often and no more; who has paid before is served meanwhile', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const friend = await s.createWallet()
  await p.pay(friend)
  const payers = await createWallets(s, crowd)
  const flood = await Promise.all(payers.map((payer) => signPayment(s.terms, payer)))
  const { codes, requests } = await sendAll(s, p, flood)
  const lost = limits.x402LooksLostPerSecondMax
  expect(codes).toEqual({ balance_too_low: lost, too_many_requests: crowd - lost })
  expect(requests).toBe(2 * lost)

  const fresh = await s.createWallet()
  expect(await sendAll(s, p, [await signPayment(s.terms, fresh)])).toMatchObject({
    codes: { too_many_requests: 1 },
  })
  expect(await p.pay(friend)).toMatchObject({ result: { success: true } })
  await s.clock.advance(1_000)
  expect(await p.pay(fresh)).toMatchObject({ result: { success: true } })
})

test('one wallet with too little is looked into once, until it may have been filled', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payer = await s.createWallet(price - 1n)
  const payments = await Promise.all(Array.from({ length: 30 }, () => signPayment(s.terms, payer)))
  for (const payment of payments) {
    expect((await sendAll(s, p, [payment])).codes).toEqual({ balance_too_low: 1 })
  }
  expect(s.rpc.calls.filter(({ method }) => method === 'eth_call').length).toBeLessThan(20)
  await s.mint(payer.address, 1n)
  await s.clock.advance(limits.x402LowWalletAgeMsMax)
  expect(await p.pay(payer)).toMatchObject({ result: { success: true } })
})

test('all payments of a wallet that is too low for them are told so, and not that there are too many', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payer = await s.createWallet(price)
  const payments = await Promise.all(Array.from({ length: 40 }, () => signPayment(s.terms, payer)))
  expect((await sendAll(s, p, payments)).codes).toEqual({ reserved: 1, balance_too_low: 39 })
})

test('a hundred payments of one full wallet at once are all taken', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payer = await s.createWallet()
  const payments = await Promise.all(Array.from({ length: 100 }, () => signPayment(s.terms, payer)))
  expect((await sendAll(s, p, payments)).codes).toEqual({ reserved: 100 })
})

test('a charge that the ledger cannot write down leaves nothing owed: the wallet is worth what it holds', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payer = await s.createWallet(price)
  const payment = await signPayment(s.terms, payer)
  const { receipt, charge } = await p.reserve(payment)
  // So that there is nothing to write the charge on.
  await p.ledger.payments.cancel({ payer: payer.address, nonce: parsePayment(payment).authorization.nonce })
  await expect(charge(receipt, { key: undefined, answer: undefined })).rejects.toMatchObject({
    code: 'ledger_unavailable',
  })
  expect(await p.pay(payer)).toMatchObject({ result: { success: true } })
})

test('a payment that the ledger cannot write down runs no program', async () => {
  await using s = await openTestDesk()
  await using p = await s.start()
  const payment = await signPayment(s.terms, await s.createWallet(price))
  await p.ledger[Symbol.asyncDispose]()
  await expect(p.reserve(payment)).rejects.toMatchObject({ code: 'ledger_unavailable' })
})
