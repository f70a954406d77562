import { type Address, type Hash, parseEventLogs, type TransactionReceipt } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import type { Log } from '../../protocol/base/log.ts'
import { type ChainCall, escrowCalls } from '../../protocol/chain/calls.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import type { GrantMirror } from '../../protocol/chain/grant-mirror.ts'
import type { TransactionRecord, TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { RedeemRow } from '../../protocol/settlement.ts'
import { type Usdc, usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Batch } from '../ledger/records.ts'

/** A batch that a block holds, and what came of it. */
export interface SettledBatch extends Batch {
  readonly hash: Hash
  readonly blockNumber: bigint
  readonly gasUsed: bigint
  readonly paidUsdc: Usdc
  /** Payers whose rows the escrow left out. */
  readonly skipped: readonly Address[]
  /** Where those rows stand. */
  readonly skippedRows: ReadonlySet<number>
}

export interface SettleBatchDeps {
  readonly ledger: Ledger
  readonly mirror: GrantMirror
  readonly sender: TransactionSender
  readonly log: Log
}

/**
 * Takes a durable batch as far as it can go, from wherever an earlier process left it: it is sent where it never was,
 * waited for where it was, and final once the mirror has passed its block.
 *
 * @returns what came of it, the first time that it is seen mined; undefined where it became final, waits to, or was
 * abandoned because another transaction took its nonce (the next batch then charges for the same)
 * @throws ProtocolError `transaction_failed` where it was undone, and as `TransactionSender.send`
 */
export async function settleBatch(
  deps: SettleBatchDeps,
  { batch, escrow }: { batch: Batch; escrow: Address },
  signal: AbortSignal,
): Promise<SettledBatch | undefined> {
  const { ledger, sender, log } = deps
  const purpose = `settle:${batch.id}`
  const signed = (await ledger.transactions.readByPurpose(purpose)).at(-1)
  if (batch.state === 'mined' && (await isSettledForGood(deps, { batch, signed }, signal))) return undefined

  const call = settlementCall(batch, escrow)
  const record = signed ?? (await sender.send(call, { purpose }, signal))
  await ledger.batches.saveState(batch.id, 'submitted')
  const fate = await sender.wait(record, signal)
  if (fate.kind !== 'mined') {
    await ledger.batches.saveState(batch.id, 'abandoned')
    log.warn('batch_abandoned', { batch: batch.id, hash: record.hash, fate: fate.kind })
    if (fate.kind === 'replaced') return undefined
    throw new ProtocolError('transaction_failed', `The chain undid settlement ${batch.id}.`, {
      hint: 'It is sent anew; nothing is lost. If it stays, look at the transaction.',
      details: { transaction: record.hash },
    })
  }
  await ledger.batches.saveState(batch.id, 'mined')
  const settled = describeSettlement(batch, fate.receipt)
  log.info('batch_settled', {
    batch: batch.id,
    hash: settled.hash,
    rows: batch.rows.length,
    receipts: batch.receipts,
    skipped: settled.skipped.length,
    paid: settled.paidUsdc.toString(),
    gasUsed: settled.gasUsed.toString(),
  })
  return settled
}

function settlementCall({ rows, usageRoot }: Batch, escrow: Address): ChainCall {
  const vouchers = rows.flatMap(({ amountUsdc, calls, voucher: signed }): RedeemRow[] =>
    signed ? [{ voucher: signed.voucher, signature: signed.signature, amountUsdc, calls }] : [],
  )
  const trials = rows.filter(({ isTrial }) => isTrial).map(({ payer, calls }) => ({ user: payer, calls }))
  assert(
    [0, rows.length].includes(vouchers.length) && [0, rows.length].includes(trials.length),
    'a batch is of one kind',
  )
  if (trials.length > 0) return escrowCalls(escrow).useCredits(trials)
  return vouchers.length > 0
    ? escrowCalls(escrow).redeem(vouchers, usageRoot)
    : escrowCalls(escrow).settle(rows, usageRoot)
}

/** Whether a mined batch needs nothing more now: it is final, or its block may still go away and is to be seen again. */
async function isSettledForGood(
  { ledger, mirror, sender, log }: SettleBatchDeps,
  { batch, signed }: { batch: Batch; signed: TransactionRecord | undefined },
  signal: AbortSignal,
): Promise<boolean> {
  assert(signed?.blockNumber !== undefined, 'a mined batch has a block')
  if (signed.blockNumber > mirror.status().blockNumber) return true
  const fate = await sender.look(signed, signal)
  if (fate?.kind === 'mined') {
    await ledger.batches.saveState(batch.id, 'final')
    return true
  }
  log.warn('batch_unmined', { batch: batch.id, hash: signed.hash })
  return false
}

/** What the escrow's events say about a settlement. */
function describeSettlement(batch: Batch, receipt: TransactionReceipt): SettledBatch {
  const events = parseEventLogs({
    abi: escrowAbi,
    logs: receipt.logs,
    eventName: ['BatchSettled', 'Skipped'],
  })
  const left = events.flatMap((event) => (event.eventName === 'Skipped' ? [event.args] : []))
  const [paidUsdc] = events.flatMap((event) =>
    event.eventName === 'BatchSettled' ? [usdc(event.args.paid)] : [],
  )
  const isTrial = batch.rows.some((row) => row.isTrial)
  assert(isTrial || paidUsdc !== undefined, 'a settlement says what it paid')
  const { transactionHash: hash, blockNumber, gasUsed } = receipt
  const skipped = left.map(({ payer }) => payer)
  const skippedRows = new Set(left.map(({ index }) => Number(index)))
  return {
    ...batch,
    state: 'mined',
    hash,
    blockNumber,
    gasUsed,
    paidUsdc: paidUsdc ?? zeroUsdc,
    skipped,
    skippedRows,
  }
}
