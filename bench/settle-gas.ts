import { type Address, keccak256, toHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { escrowAbi } from '../protocol/chain/contracts.ts'
import { encodeRedeemRows, encodeSettleRows } from '../protocol/settlement.ts'
import { usdc } from '../protocol/usdc.ts'
import { signVoucher } from '../protocol/voucher.ts'
import {
  type ContractsOnChain,
  fund,
  openContractsOnChain,
  transactionGasMax,
} from '../test/support/contracts-on-chain.ts'
import type { Measurement, Table } from './measurement.ts'

/**
 * Gas of a settlement, all in (21,000 + calldata + cold slots), on a real chain in this process: of metered use, and of
 * vouchers. The peer, in the same run, is the seed's way to charge: one `consume` for each call.
 */
const priceUsdc = 500n
const payerCounts = [1, 10, 100, 1000]

interface Measured {
  readonly payers: number
  readonly calls: number
  readonly gas: bigint
}

/** What a settlement costs by the number of its payers. */
export const settleGas: Measurement = {
  name: 'settle-gas',
  title: 'Gas of a settlement',
  async run(_context, signal) {
    const { metered, vouchers, consumeGas } = await settleBatches(signal)
    return {
      tables: [
        tabulate('Metered use (`settle`)', metered, consumeGas),
        tabulate('Vouchers (`redeem`)', vouchers, consumeGas),
      ],
      remarks: [
        `One call by \`consume\`: ${consumeGas} gas. A transaction may need ${transactionGasMax} at most. All gas is counted: 21 000, calldata, cold slots.`,
      ],
    }
  },
}

interface Payer {
  readonly account: ReturnType<typeof privateKeyToAccount>
  /** Cumulative calls by metered use, and by vouchers. */
  settledCalls: number
  redeemedCalls: number
}

interface Batches {
  readonly metered: readonly Measured[]
  readonly vouchers: readonly Measured[]
  readonly consumeGas: bigint
}

type Collect = (chain: ContractsOnChain, provider: Address, batch: Batch) => Promise<Measured>

interface Batch {
  readonly payers: readonly Payer[]
  readonly callsEach: number
}

async function settleBatches(signal: AbortSignal): Promise<Batches> {
  await using chain = await openContractsOnChain()
  // Addresses as people have them, with hardly a zero byte: calldata costs four times as much for others.
  const provider = privateKeyToAccount(keyOf('provider')).address
  await chain.unlock(provider)
  const payers = Array.from({ length: Math.max(...payerCounts) }, (_, index) => makePayer(index))
  for (const { account } of payers) {
    signal.throwIfAborted()
    await openGrants(chain, account.address, provider)
  }

  const metered = await measureBatches(chain, provider, payers, settle)
  const vouchers = await measureBatches(chain, provider, payers, redeem)
  const { gasUsed: consumeGas } = await chain.send({
    from: provider,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'consume',
    args: [payers[0]?.account.address as Address, priceUsdc],
  })
  return { metered, vouchers, consumeGas }
}

async function measureBatches(
  chain: ContractsOnChain,
  provider: Address,
  payers: readonly Payer[],
  collect: Collect,
): Promise<Measured[]> {
  // The steady state: neither the provider's balance nor any grant is met for the first time.
  for (let start = 0; start < payers.length; start += 500) {
    await collect(chain, provider, { payers: payers.slice(start, start + 500), callsEach: 1 })
  }
  const batches = payerCounts.map((count): Batch => ({ payers: payers.slice(0, count), callsEach: 1 }))
  batches.push({ payers: payers.slice(0, 1), callsEach: 1000 })
  batches.push({ payers: payers.slice(0, 100), callsEach: 10 })

  const measured: Measured[] = []
  for (const batch of batches) measured.push(await collect(chain, provider, batch))
  return measured
}

function makePayer(index: number): Payer {
  return { account: privateKeyToAccount(keyOf(`payer ${index}`)), settledCalls: 0, redeemedCalls: 0 }
}

const keyOf = (label: string) => keccak256(toHex(label))

/** One grant for metered use, and one for vouchers. */
async function openGrants(chain: ContractsOnChain, payer: Address, provider: Address): Promise<void> {
  await chain.unlock(payer)
  await fund(chain, payer, 20_000_000n)
  const approve = { from: payer, to: chain.escrow, abi: escrowAbi, functionName: 'approve' } as const
  await chain.send({ ...approve, args: [provider, priceUsdc, 5_000_000n] })
  const terms = {
    provider,
    signer: payer,
    price: Number(priceUsdc),
    budget: 5_000_000n,
    expiry: 4_000_000_000,
    notice: 48,
  }
  await chain.send({ ...approve, args: [terms] })
}

const settle: Collect = async (chain, provider, { payers, callsEach }) => {
  const rows = payers.map((payer) => {
    payer.settledCalls += callsEach
    return {
      payer: payer.account.address,
      amountUsdc: usdcFor(payer.settledCalls),
      calls: payer.settledCalls,
    }
  })
  const { gasUsed } = await chain.send({
    from: provider,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'settle',
    args: [encodeSettleRows(rows), usageRoot],
  })
  return { payers: payers.length, calls: payers.length * callsEach, gas: gasUsed }
}

/** Each voucher is signed ahead of use, for fifty calls more than are claimed of it. */
const redeem: Collect = async (chain, provider, { payers, callsEach }) => {
  const market = { chainId: await chain.client.getChainId(), escrow: chain.escrow }
  const rows = await Promise.all(
    payers.map(async (payer) => {
      payer.redeemedCalls += callsEach
      const calls = payer.redeemedCalls
      const voucher = {
        payer: payer.account.address,
        provider,
        maxAmount: usdcFor(calls + 50),
        maxCalls: calls + 50,
        epoch: 0,
      }
      const signature = await signVoucher(voucher, payer.account, market)
      return { voucher, amountUsdc: usdcFor(calls), calls, signature }
    }),
  )
  const { gasUsed } = await chain.send({
    from: provider,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'redeem',
    args: [encodeRedeemRows(rows), usageRoot],
  })
  return { payers: payers.length, calls: payers.length * callsEach, gas: gasUsed }
}

const usdcFor = (calls: number) => usdc(BigInt(calls) * priceUsdc)

const usageRoot = keccak256(toHex('usage'))

function tabulate(caption: string, batches: readonly Measured[], consumeGas: bigint): Table {
  return {
    caption,
    columns: ['payers', 'calls', 'gas of the transaction', 'per row', 'per call', 'consume ÷ this, per call'],
    rows: batches.map(({ payers, calls, gas }) => {
      const perCall = Number(gas) / calls
      return [
        `${payers}`,
        `${calls}`,
        Number(gas),
        Number(gas) / payers,
        perCall,
        Number(consumeGas) / perCall,
      ]
    }),
  }
}
