import { readFile } from 'node:fs/promises'
import { artifacts } from 'hardhat'
import { type Address, type Hex, keccak256, toHex, zeroHash } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { encodeRedeemRows, encodeSettleRows } from '../../protocol/settlement.ts'
import { usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { type ContractsOnChain, fund, openContractsOnChain } from '../support/contracts-on-chain.ts'

/**
 * What transactions cost, all in, against `test/contracts/gas.json`: more than 1 % above it fails, and a saving of more
 * than 1 % wants to be written down there.
 */

const sizeBytesMax = 24 * 1024
const payerCount = 100
const priceUsdc = 500n

let chain: ContractsOnChain
beforeAll(async () => {
  chain = await openContractsOnChain()
})
afterAll(() => chain[Symbol.asyncDispose]())

test('every contract fits the 24 KiB that a chain takes', async () => {
  for (const name of ['Escrow', 'Registry', 'Resolver', 'UniversalResolver', 'Receipts', 'DevUsdc']) {
    const { deployedBytecode } = await artifacts.readArtifact(name)
    const sizeBytes = (deployedBytecode.length - 2) / 2
    expect(sizeBytes, name).toBeGreaterThan(0)
    expect(sizeBytes, name).toBeLessThanOrEqual(sizeBytesMax)
  }
})

test('no transaction costs more than the snapshot says', async () => {
  const measured = await measure()
  const file = new URL('../contracts/gas.json', import.meta.url)
  const snapshot = JSON.parse(await readFile(file, 'utf8')) as Record<string, number>

  expect(Object.keys(snapshot).sort(), JSON.stringify(measured, undefined, 2)).toEqual(
    Object.keys(measured).sort(),
  )
  for (const [name, gas] of Object.entries(measured)) {
    const change = gas / (snapshot[name] as number) - 1
    expect(change, `${name}: ${gas} gas; in the snapshot ${snapshot[name]}`).toBeLessThanOrEqual(0.01)
    expect(change, `${name}: ${gas} gas; in the snapshot ${snapshot[name]}`).toBeGreaterThanOrEqual(-0.01)
  }
})

/** In one order and with fixed keys: the same gas in every run. */
async function measure(): Promise<Record<string, number>> {
  const provider = keyOf('provider').address
  const payers = Array.from({ length: payerCount }, (_, index) => keyOf(`payer ${index}`))
  await chain.unlock(provider)
  for (const { address } of payers) await prepare(address, provider)

  const [first] = payers as [Payer]
  const gas: Record<string, number> = {}
  const record = async (name: string, sent: Promise<{ gasUsed: bigint }>) => {
    gas[name] = Number((await sent).gasUsed)
  }
  // The first of each kind fills slots; from then on it is the steady state that is measured.
  await settle(payers, provider, 1)
  await redeem(payers, provider, 1)
  await record('settle 100 payers', settle(payers, provider, 2))
  await record('redeem 100 vouchers', redeem(payers, provider, 2))
  await record('settle 1 payer', settle([first], provider, 3))
  await record('redeem 1 voucher', redeem([first], provider, 3))
  const byProvider = { from: provider, to: chain.escrow, abi: escrowAbi } as const
  await record(
    'consume',
    chain.send({ ...byProvider, functionName: 'consume', args: [first.address, priceUsdc] }),
  )
  await record('withdraw', chain.send({ ...byProvider, functionName: 'withdraw', args: [priceUsdc] }))
  await recordPayer(first.address, provider, record)
  return gas
}

type Payer = ReturnType<typeof keyOf>
type Sent = Promise<{ gasUsed: bigint }>

async function recordPayer(
  payer: Address,
  provider: Address,
  record: (name: string, sent: Sent) => Promise<void>,
): Promise<void> {
  const byPayer = { from: payer, to: chain.escrow, abi: escrowAbi } as const
  await record(
    'approve, improving',
    chain.send({ ...byPayer, functionName: 'approve', args: [provider, priceUsdc, 2_000_000n] }),
  )
  await record('revoke', chain.send({ ...byPayer, functionName: 'revoke', args: [provider] }))
  await chain.wait(48 * 60 * 60)
  await record('reclaim', chain.send({ ...byPayer, functionName: 'reclaim', args: [provider] }))
}

const keyOf = (label: string) => privateKeyToAccount(keccak256(toHex(label)))

async function prepare(payer: Address, provider: Address): Promise<void> {
  await chain.unlock(payer)
  await fund(chain, payer, 10_000_000n)
  const approve = { from: payer, to: chain.escrow, abi: escrowAbi, functionName: 'approve' } as const
  await chain.send({ ...approve, args: [provider, priceUsdc, 1_000_000n] })
  const terms = { provider, signer: payer, price: Number(priceUsdc), budget: 1_000_000n }
  await chain.send({ ...approve, args: [{ ...terms, expiry: 4_000_000_000, notice: 48 }] })
}

function settle(payers: readonly Payer[], provider: Address, calls: number): Sent {
  const rows = payers.map(({ address }) => ({ payer: address, amountUsdc: usdcFor(calls), calls }))
  const args = [encodeSettleRows(rows), zeroHash] as const
  return chain.send({ from: provider, to: chain.escrow, abi: escrowAbi, functionName: 'settle', args })
}

async function redeem(payers: readonly Payer[], provider: Address, calls: number): Sent {
  const market = { chainId: await chain.client.getChainId(), escrow: chain.escrow }
  const rows = await Promise.all(
    payers.map(async (payer) => {
      const voucher = {
        payer: payer.address,
        provider,
        maxAmount: usdcFor(calls + 50),
        maxCalls: calls + 50,
        epoch: 0,
      }
      const signature: Hex = await signVoucher(voucher, payer, market)
      return { voucher, amountUsdc: usdcFor(calls), calls, signature }
    }),
  )
  const args = [encodeRedeemRows(rows), zeroHash] as const
  return chain.send({ from: provider, to: chain.escrow, abi: escrowAbi, functionName: 'redeem', args })
}

const usdcFor = (calls: number) => usdc(BigInt(calls) * priceUsdc)
