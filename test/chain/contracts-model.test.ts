import fc from 'fast-check'
import {
  type Address,
  encodeAbiParameters,
  type Hex,
  keccak256,
  pad,
  parseEventLogs,
  toHex,
  zeroAddress,
  zeroHash,
} from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { encodeRedeemRows, encodeSettleRows } from '../../protocol/settlement.ts'
import { usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { type ContractsOnChain, fund, openContractsOnChain } from '../support/contracts-on-chain.ts'
import {
  createEscrowModel,
  type ModelEvent,
  type ModelRow,
  Refusal,
  slotOf,
} from '../support/escrow-model.ts'

let chain: ContractsOnChain
beforeAll(async () => {
  chain = await openContractsOnChain()
})
afterAll(() => chain[Symbol.asyncDispose]())

/** How a voucher is wrong, if it is. */
const flaws = ['none', 'none', 'none', 'nobody', 'epoch', 'amount', 'calls'] as const

type Step =
  | { kind: 'deposit' | 'withdraw' | 'consume'; amount: bigint }
  | { kind: 'approve'; lane: number; price: bigint; more: bigint; hours: number }
  | { kind: 'revoke' | 'reclaim'; lane: number }
  | { kind: 'settle'; amount: bigint; calls: bigint }
  | { kind: 'redeem'; lane: number; amount: bigint; calls: bigint; flaw: (typeof flaws)[number] }
  | { kind: 'wait' }

const amounts = fc.bigInt(0n, 150n)
const calls = fc.bigInt(0n, 10n)
const lane = fc.nat(2)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constantFrom('deposit', 'withdraw', 'consume'), amount: amounts }),
  fc.record({
    kind: fc.constant('approve'),
    lane,
    price: fc.bigInt(0n, 20n),
    more: fc.bigInt(0n, 200n),
    hours: fc.nat(90),
  }),
  fc.record({ kind: fc.constantFrom('revoke', 'reclaim'), lane }),
  fc.record({ kind: fc.constant('settle'), amount: amounts, calls }),
  fc.record({
    kind: fc.constant('redeem'),
    lane: fc.integer({ min: 1, max: 2 }),
    amount: amounts,
    calls,
    flaw: fc.constantFrom(...flaws),
  }),
  fc.record({ kind: fc.constant('wait') }),
)

/** A payer with a session key, and a provider, whom nobody has seen before. */
async function createParties(run: number) {
  const keyOf = (name: string) => privateKeyToAccount(keccak256(toHex(`${name} ${run}`)))
  const parties = { payer: keyOf('payer'), session: keyOf('session'), provider: keyOf('provider').address }
  await chain.unlock(parties.payer.address)
  await chain.unlock(parties.provider)
  return parties
}
type Parties = Awaited<ReturnType<typeof createParties>>
type Model = ReturnType<typeof createEscrowModel>

const signerAt = ({ payer, session }: Parties, index: number): Address =>
  [zeroAddress, payer.address, session.address][index] as Address

test('a model in TypeScript refuses, stores and tells what the contract does, whatever is done in any order', async () => {
  const reached = new Map<string, number>()
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 35 }), async (steps) => {
      run += 1
      const parties = await createParties(run)
      const model = createEscrowModel()
      const heldBefore = await heldOnChain()
      await fund(chain, parties.payer.address, 500n)
      model.deposit(parties.payer.address, 500n)
      for (const each of steps) {
        const what = await takeBoth(each, parties, model)
        reached.set(what, (reached.get(what) ?? 0) + 1)
        await expectSameSlots(parties, model, heldBefore)
      }
    }),
    { numRuns: 40, seed: 7 },
  )
  for (const name of [
    'AmountZero',
    'BalanceTooLow',
    'GrantMissing',
    'TermsCut',
    'PriceZero',
    'NoticeRunning',
  ])
    expect(reached.get(name), name).toBeGreaterThan(0)
  for (const name of ['Settled', 'Redeemed', 'RedeemedBySession', 'Consumed', 'Revoked', 'Reclaimed'])
    expect(reached.get(name), name).toBeGreaterThan(2)
  for (const reason of [0, 1, 2, 3, 4, 5, 6])
    expect(reached.get(`Skipped ${reason}`), `${reason}`).toBeGreaterThan(0)
})

/** @returns the first event, or why it was refused. */
async function takeBoth(each: Step, parties: Parties, model: Model): Promise<string> {
  const prepared = await prepare(each, parties, model)
  const sent = await send(prepared).catch((refusal: Error) => refusal)
  const now = (await chain.client.getBlock()).timestamp
  let expected: ModelEvent[] | Refusal
  try {
    expected = prepared.inModel(now)
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal
    expected = refusal
  }
  if (sent instanceof Error || expected instanceof Refusal) {
    const { message } = expected as Refusal
    expect(`${sent}`, `${each.kind}: the model says ${message}`).toContain(`${message}(`)
    return message
  }
  expect(sent).toEqual(expected)
  const [name = each.kind, ...args] = expected[0] ?? []
  return name === 'Skipped' ? `Skipped ${args[3]}` : `${name}`
}

interface Prepared {
  readonly call: Parameters<ContractsOnChain['send']>[0] | undefined
  inModel(now: bigint): ModelEvent[]
}

async function send({ call }: Prepared): Promise<ModelEvent[]> {
  if (!call) {
    await chain.wait(50 * 60 * 60)
    return []
  }
  const { hash } = await chain.send(call as never)
  const { logs } = await chain.client.getTransactionReceipt({ hash })
  return parseEventLogs({ abi: escrowAbi, logs }).map(({ eventName, args }) => {
    const values = Object.entries(args).filter(([name]) => name !== 'usageRoot')
    return [eventName, ...values.map(([, value]) => (typeof value === 'number' ? BigInt(value) : value))]
  }) as ModelEvent[]
}

async function prepare(each: Step, parties: Parties, model: Model): Promise<Prepared> {
  const payer = parties.payer.address
  const { provider } = parties
  const byPayer = { from: payer, to: chain.escrow, abi: escrowAbi } as const
  const byProvider = { ...byPayer, from: provider } as const
  const { timestamp } = await chain.client.getBlock()
  switch (each.kind) {
    case 'wait':
      return { call: undefined, inModel: () => [] }
    case 'deposit': {
      const { amount } = each
      if (amount !== 0n) {
        // The wallet and its approval are the token's business.
        await fund(chain, payer, amount)
        model.deposit(payer, amount)
      }
      return {
        call: { ...byPayer, functionName: 'deposit', args: [0n] },
        inModel: () => model.deposit(payer, 0n),
      }
    }
    case 'withdraw':
      return {
        call: { ...byPayer, functionName: 'withdraw', args: [each.amount] },
        inModel: () => model.withdraw(payer, each.amount),
      }
    case 'consume':
      return {
        call: { ...byProvider, functionName: 'consume', args: [payer, each.amount / 10n] },
        inModel: () => model.consume(provider, payer, each.amount / 10n),
      }
    case 'approve': {
      const signer = signerAt(parties, each.lane)
      // Half an hour off the whole hour: no second of the chain's clock decides anything.
      const expiry = timestamp + BigInt(each.hours) * 36_000n - 1_800n
      const budget = model.grantOf(payer, provider, signer).budget + each.more - 20n
      const terms = {
        provider,
        signer,
        price: each.price,
        budget: budget < 0n ? 0n : budget,
        expiry,
        notice: 48n,
      }
      const args = [{ ...terms, price: Number(each.price), expiry: Number(expiry), notice: 48 }]
      return {
        call: { ...byPayer, functionName: 'approve', args } as never,
        inModel: (now) => model.approve(payer, terms, now),
      }
    }
    case 'revoke':
    case 'reclaim': {
      const signer = signerAt(parties, each.lane)
      return {
        call: { ...byPayer, functionName: each.kind, args: [provider, signer] },
        inModel: (now) => model[each.kind](payer, provider, signer, now),
      }
    }
    case 'settle': {
      const { spent, calls: callsBefore } = model.grantOf(payer, provider, zeroAddress)
      const row = { payer, amount: spent + each.amount, calls: callsBefore + each.calls }
      const encoded = { payer, amountUsdc: usdc(row.amount), calls: Number(row.calls) }
      return {
        call: {
          ...byProvider,
          functionName: 'settle',
          args: [encodeSettleRows([encoded, encoded]), zeroHash],
        },
        inModel: () => model.collect(provider, [row, row]),
      }
    }
    case 'redeem':
      return prepareRedeem(each, parties, model)
  }
}

async function prepareRedeem(
  { lane: index, amount, calls: newCalls, flaw }: Extract<Step, { kind: 'redeem' }>,
  parties: Parties,
  model: Model,
): Promise<Prepared> {
  const { payer, session, provider } = parties
  const signer = index === 1 ? payer : session
  const grant = model.grantOf(payer.address, provider, signer.address)
  const claimed = grant.spent + amount
  const claimedCalls = grant.calls + newCalls
  const signed = {
    maxAmount: flaw === 'amount' ? claimed - 1n : claimed + 7n,
    maxCalls: flaw === 'calls' ? claimedCalls - 1n : claimedCalls + 3n,
    epoch: flaw === 'epoch' ? grant.epoch + 1n : grant.epoch,
  }
  const bounded = { maxAmount: atLeastZero(signed.maxAmount), maxCalls: atLeastZero(signed.maxCalls) }
  const voucher = {
    payer: payer.address,
    provider,
    maxAmount: usdc(bounded.maxAmount),
    maxCalls: Number(bounded.maxCalls),
    epoch: Number(signed.epoch),
  }
  const market = { chainId: await chain.client.getChainId(), escrow: chain.escrow }
  const signature: Hex =
    flaw === 'nobody' ? pad('0x', { size: 64 }) : await signVoucher(voucher, signer, market)
  const row: ModelRow = {
    payer: payer.address,
    amount: claimed,
    calls: claimedCalls,
    voucher: {
      ...bounded,
      epoch: signed.epoch,
      signer: flaw === 'nobody' ? zeroAddress : signer.address,
    },
  }
  const encoded = { voucher, amountUsdc: usdc(claimed), calls: Number(claimedCalls), signature }
  return {
    call: {
      from: provider,
      to: chain.escrow,
      abi: escrowAbi,
      functionName: 'redeem',
      args: [encodeRedeemRows([encoded, encoded]), zeroHash],
    } as never,
    inModel: () => model.collect(provider, [row, row]),
  }
}

const atLeastZero = (value: bigint) => (value < 0n ? 0n : value)

// ------------------------------------------------------------------ storage

async function expectSameSlots(parties: Parties, model: Model, heldBefore: bigint): Promise<void> {
  const payer = parties.payer.address
  const { provider } = parties
  for (const account of [payer, provider]) {
    expect(await slotAt(mapped(account, word(2n)))).toBe(model.balanceOf(account))
  }
  for (const index of [0, 1, 2]) {
    const signer = signerAt(parties, index)
    const place = mapped(payer, mapped(signer, mapped(provider, word(3n))))
    expect(await slotAt(place)).toBe(slotOf(model.grantOf(payer, provider, signer)))
  }
  expect((await heldOnChain()) - heldBefore).toBe(model.held())
}

const heldOnChain = () => slotAt(word(4n))
const word = (value: bigint): Hex => toHex(value, { size: 32 })

const mapped = (key: Address, slot: Hex) =>
  keccak256(encodeAbiParameters([{ type: 'address' }, { type: 'bytes32' }], [key, slot]))

async function slotAt(slot: Hex): Promise<bigint> {
  return BigInt((await chain.client.getStorageAt({ address: chain.escrow, slot })) ?? '0x0')
}
