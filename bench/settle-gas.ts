import { type Address, keccak256, toHex } from 'viem'
import { escrowAbi } from '../protocol/chain/contracts.ts'
import { encodeSettleRows } from '../protocol/settlement.ts'
import { usdc } from '../protocol/usdc.ts'
import {
  type ContractsOnChain,
  fund,
  openContractsOnChain,
  transactionGasMax,
} from '../test/support/contracts-on-chain.ts'
import type { Measurement, Table } from './measurement.ts'

/**
 * Gas of a settlement, all in (21,000 + calldata + cold slots), on a real chain in this process. The peer, in the same
 * run, is the seed's way to charge: one `consume` for each call.
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
    const { batches, consumeGas } = await settleBatches(signal)
    return {
      tables: [tabulate(batches, consumeGas)],
      remarks: [
        `One call by \`consume\`: ${consumeGas} gas. A transaction may need ${transactionGasMax} at most. All gas is counted: 21 000, calldata, cold slots.`,
      ],
    }
  },
}

async function settleBatches(
  signal: AbortSignal,
): Promise<{ batches: readonly Measured[]; consumeGas: bigint }> {
  await using chain = await openContractsOnChain()
  const provider = addressOf('provider')
  await chain.unlock(provider)
  const payers = Array.from({ length: Math.max(...payerCounts) }, (_, index) => addressOf(`payer ${index}`))
  for (const payer of payers) {
    signal.throwIfAborted()
    await openGrant(chain, payer, provider)
  }

  // The steady state: neither the provider's balance nor any grant is met for the first time.
  const settled = new Map<Address, bigint>()
  const settle = (subset: readonly Address[], callsEach: bigint) =>
    measureSettle(chain, { provider, payers: subset, callsEach, settled })
  for (let start = 0; start < payers.length; start += 500) await settle(payers.slice(start, start + 500), 1n)

  const batches: Measured[] = []
  for (const count of payerCounts) batches.push(await settle(payers.slice(0, count), 1n))
  batches.push(await settle(payers.slice(0, 1), 1000n))
  batches.push(await settle(payers.slice(0, 100), 10n))

  const [payer] = payers as [Address]
  const { gasUsed: consumeGas } = await chain.send({
    from: provider,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'consume',
    args: [payer, priceUsdc],
  })
  return { batches, consumeGas }
}

async function openGrant(chain: ContractsOnChain, payer: Address, provider: Address): Promise<void> {
  await chain.unlock(payer)
  await fund(chain, payer, 10_000_000n)
  await chain.send({
    from: payer,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'approve',
    args: [provider, priceUsdc, 5_000_000n],
  })
}

async function measureSettle(
  chain: ContractsOnChain,
  batch: {
    readonly provider: Address
    readonly payers: readonly Address[]
    readonly callsEach: bigint
    /** Cumulative calls of each payer; raised here. */
    readonly settled: Map<Address, bigint>
  },
): Promise<Measured> {
  const { provider, payers, callsEach, settled } = batch
  const rows = payers.map((payer) => {
    const calls = (settled.get(payer) ?? 0n) + callsEach
    settled.set(payer, calls)
    return { payer, amountUsdc: usdc(calls * priceUsdc), calls: Number(calls) }
  })
  const { gasUsed } = await chain.send({
    from: provider,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'settle',
    args: [encodeSettleRows(rows), keccak256(toHex('usage'))],
  })
  return { payers: payers.length, calls: payers.length * Number(callsEach), gas: gasUsed }
}

/** Addresses as people have them, with hardly a zero byte: calldata costs four times as much for others. */
function addressOf(label: string): Address {
  return `0x${keccak256(toHex(label)).slice(2, 42)}`
}

function tabulate(batches: readonly Measured[], consumeGas: bigint): Table {
  return {
    caption: '',
    columns: [
      'payers',
      'calls',
      'gas of the transaction',
      'per row',
      'per call',
      'consume ÷ settle, per call',
    ],
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
