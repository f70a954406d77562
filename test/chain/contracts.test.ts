import { readFile } from 'node:fs/promises'
import fc from 'fast-check'
import hre from 'hardhat'
import { type Address, getAddress, parseEventLogs, toHex, zeroAddress, zeroHash } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { contractsFile, renderContracts } from '../../protocol/chain/generate-contracts.ts'
import { encodeSettleRows } from '../../protocol/settlement.ts'
import { usdc } from '../../protocol/usdc.ts'
import { type ContractsOnChain, fund, openContractsOnChain } from '../support/contracts-on-chain.ts'

let chain: ContractsOnChain
beforeAll(async () => {
  chain = await openContractsOnChain()
})
afterAll(() => chain[Symbol.asyncDispose]())

const escrow = () => ({ address: chain.escrow, abi: escrowAbi }) as const

test('the committed ABI and bytecode are what the sources compile to', async () => {
  await hre.tasks.getTask('build').run({ quiet: true, noTests: true })
  expect(await renderContracts()).toBe(await readFile(contractsFile, 'utf8'))
})

/** What off-chain code believes of one payer, from events alone. */
interface Mirrored {
  spent: bigint
  budget: bigint
  price: bigint
  calls: number
  expiry: number
  notice: number
  epoch: number
  balance: bigint
}

/** The simplest event mirror there can be: every event carries the resulting state, so it reads nothing. */
async function mirror(payer: Address): Promise<Mirrored> {
  const logs = await chain.client.getLogs({ address: chain.escrow, fromBlock: 0n, toBlock: 'latest' })
  const state: Mirrored = {
    spent: 0n,
    budget: 0n,
    price: 0n,
    calls: 0,
    expiry: 0,
    notice: 0,
    epoch: 0,
    balance: 0n,
  }
  for (const { eventName, args } of parseEventLogs({ abi: escrowAbi, logs })) {
    if ('account' in args && args.account === payer) state.balance = args.balance
    if (!('payer' in args) || args.payer !== payer) continue
    if (eventName === 'Approved') Object.assign(state, pick(args))
    if (eventName === 'Revoked') state.expiry = args.expiry
    if (eventName === 'Settled' || eventName === 'Consumed') Object.assign(state, unpackUsage(args.usage))
    if (eventName === 'Reclaimed') {
      const { epoch, balance } = args
      Object.assign(state, { budget: 0n, price: 0n, expiry: 0, notice: 0, epoch, balance })
    }
  }
  return state
}

function pick({ spent, budget, price, calls, expiry, notice, epoch, balance }: Mirrored | ApprovedArgs) {
  return { spent, budget, price: BigInt(price), calls, expiry, notice, epoch, balance }
}

interface ApprovedArgs extends Omit<Mirrored, 'price'> {
  price: number
}

function unpackUsage(usage: bigint) {
  const part = (bit: bigint, bits: number) => BigInt.asUintN(bits, usage >> bit)
  return { spent: part(0n, 64), budget: part(64n, 64), calls: Number(part(192n, 32)) }
}

type Step =
  | { kind: 'approve'; price: bigint; more: bigint }
  | { kind: 'consume'; price: bigint }
  | { kind: 'settle'; amount: bigint; calls: number }
  | { kind: 'deposit'; amount: bigint }
  | { kind: 'withdraw' | 'revoke' | 'reclaim' | 'wait' }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('approve'), price: fc.bigInt(1n, 20n), more: fc.bigInt(0n, 300n) }),
  fc.record({ kind: fc.constant('consume'), price: fc.bigInt(1n, 25n) }),
  fc.record({ kind: fc.constant('settle'), amount: fc.bigInt(0n, 200n), calls: fc.nat(12) }),
  fc.record({ kind: fc.constant('deposit'), amount: fc.bigInt(1n, 500n) }),
  fc.record({ kind: fc.constantFrom('withdraw', 'revoke', 'reclaim', 'wait') }),
)

test('a mirror that only reads events knows every grant and balance, whatever payer and provider do', async () => {
  const reached = new Set<string>()
  let run = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 30 }), async (steps) => {
      run += 1
      const payer = accountOf(2 * run)
      const provider = accountOf(2 * run + 1)
      await chain.unlock(payer)
      await chain.unlock(provider)
      await fund(chain, payer, 500n)
      for (const each of steps) if (await take(each, payer, provider)) reached.add(each.kind)

      const { flags, ...grant } = await chain.client.readContract({
        ...escrow(),
        functionName: 'grantOf',
        args: [payer, provider, zeroAddress],
      })
      const balance = await chain.client.readContract({
        ...escrow(),
        functionName: 'balanceOf',
        args: [payer],
      })
      expect(flags).toBe(0)
      expect(await mirror(payer)).toEqual({ ...grant, price: BigInt(grant.price), balance })
    }),
    { numRuns: 25, seed: 20 },
  )
  expect([...reached].sort()).toEqual([
    'approve',
    'consume',
    'deposit',
    'reclaim',
    'revoke',
    'settle',
    'wait',
    'withdraw',
  ])
})

/** Does one step. @returns whether the escrow let it happen: refusals are part of life here. */
async function take(step: Step, payer: Address, provider: Address): Promise<boolean> {
  const grant = await chain.client.readContract({
    ...escrow(),
    functionName: 'grantOf',
    args: [payer, provider, zeroAddress],
  })
  const byPayer = { from: payer, to: chain.escrow, abi: escrowAbi } as const
  const byProvider = { ...byPayer, from: provider } as const
  const doing = async () => {
    switch (step.kind) {
      case 'approve':
        return chain.send({
          ...byPayer,
          functionName: 'approve',
          args: [provider, step.price, grant.budget + step.more],
        })
      case 'consume':
        return chain.send({ ...byProvider, functionName: 'consume', args: [payer, step.price] })
      case 'settle': {
        const row = { payer, amountUsdc: usdc(grant.spent + step.amount), calls: grant.calls + step.calls }
        const rows = encodeSettleRows([row, row])
        return chain.send({ ...byProvider, functionName: 'settle', args: [rows, zeroHash] })
      }
      case 'deposit':
        return fund(chain, payer, step.amount)
      case 'withdraw':
        return chain.send({ ...byPayer, functionName: 'withdraw', args: [1n] })
      case 'revoke':
        return chain.send({ ...byPayer, functionName: 'revoke', args: [provider] })
      case 'reclaim':
        return chain.send({ ...byPayer, functionName: 'reclaim', args: [provider] })
      case 'wait':
        return chain.wait(50 * 60 * 60)
    }
  }
  return doing().then(
    () => true,
    (refusal: Error) => {
      expect(refusal.message).toMatch(/reverted with custom error/)
      return false
    },
  )
}

function accountOf(index: number): Address {
  return getAddress(toHex(0xabcd_0000_0000_0000_0000n + BigInt(index), { size: 20 }))
}
