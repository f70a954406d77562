import type { Address } from 'viem'
import { backoffDelayMs } from '../../protocol/base/backoff.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import type { GrantMirror } from '../../protocol/chain/grant-mirror.ts'
import type { TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { settleDeadline } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Batch } from '../ledger/records.ts'
import { chooseDue, createAttempts } from './choose-due.ts'
import { type SettledBatch, settleBatch } from './settle-batch.ts'

/**
 * Turns charges into escrow balance: by interval, when much has gathered, at once when a payer revokes, before a grant's
 * last moment to settle, and at shutdown. What it sends is cumulative and durable before it leaves, so a crash anywhere
 * costs nothing and pays nothing twice. The chain may be away for days: it keeps trying, and nothing is lost.
 */
export interface Settler extends AsyncDisposable {
  /**
   * Settles all that is due now. Resolves when it is mined.
   *
   * @throws ProtocolError `chain_unreachable`, `balance_too_low` (gas), `transaction_failed`; the loop goes on trying
   */
  settleNow(signal: AbortSignal): Promise<SettlementResult>
  /** Calls `listener` with each batch that was mined. @returns what stops it. */
  onSettled(listener: (batch: SettledBatch) => void): () => void
  status(): SettlerStatus
}

export interface SettlementResult {
  /** Empty where nothing was due. */
  readonly batches: readonly SettledBatch[]
}

export interface SettlerStatus {
  /** Charged and not yet seen as paid. */
  readonly unsettledUsdc: Usdc
  /** Failures since the last success. */
  readonly failures: number
}

export interface SettlerDeps {
  readonly ledger: Ledger
  readonly mirror: GrantMirror
  readonly sender: TransactionSender
  readonly clock: Clock
  readonly log: Log
  /** Uniform in [0, 1), for the spread of waits after failures. */
  readonly random?: () => number
}

export interface SettlerOptions {
  readonly escrow: Address
  readonly intervalMs: number
  /** Settles as soon as so much has been charged since the last time. */
  readonly thresholdUsdc?: Usdc
  /** At most so many payers in one transaction. */
  readonly rowsMax?: number
  /** At most so many receipts under one usage root. */
  readonly receiptsMax?: number
}

export function createSettler(deps: SettlerDeps, options: SettlerOptions): Settler {
  const { ledger, mirror, clock, log, random = Math.random } = deps
  const {
    escrow,
    intervalMs,
    thresholdUsdc,
    rowsMax = limits.settleRowsMax,
    receiptsMax = limits.settleReceiptsMax,
  } = options
  const closing = new AbortController()
  const alarm = createAlarm(clock)
  const attempts = createAttempts()
  const listeners = new Set<(batch: SettledBatch) => void>()
  let failures = 0
  let gatheredUsdc = 0n
  let lane: Promise<unknown> = Promise.resolve()

  const stopListening = [
    ledger.onCharged((amountUsdc) => {
      gatheredUsdc += amountUsdc
      if (thresholdUsdc !== undefined && gatheredUsdc >= thresholdUsdc) alarm.ring()
    }),
    mirror.onChange(({ kind }) => {
      if (kind === 'revoked') alarm.ring()
    }),
  ]

  /** Ends what an earlier run began, then takes one batch after another until nothing is due. */
  async function settleAll(signal: AbortSignal): Promise<SettlementResult> {
    signal.throwIfAborted()
    gatheredUsdc = 0n
    const settled: SettledBatch[] = []
    const settle = async (batch: Batch) => {
      const done = await settleBatch(deps, { batch, escrow }, signal)
      if (!done) return
      attempts.note(done)
      settled.push(done)
      for (const listener of listeners) listener(done)
    }
    for (const batch of await ledger.batches.readOpen()) await settle(batch)
    for (;;) {
      // A chain that has gone away leaves the mirror as it was; sending will say so.
      await mirror.refresh(signal).catch(() => signal.throwIfAborted())
      const batch = await createBatch()
      if (!batch) break
      await settle(batch)
    }
    // What was mined may be final by now.
    for (const batch of await ledger.batches.readOpen()) await settle(batch)
    return { batches: settled }
  }

  async function createBatch(): Promise<Batch | undefined> {
    const open = await ledger.batches.readOpen()
    const due = chooseDue(ledger.unsettled(mirror.grant), { open, attempts, rowsMax })
    attempts.begin(due)
    const candidates = due.map(
      ({ payer, signer, epoch, voucher, grant: { spentUsdc, calls, priceUsdc } }) => ({
        payer,
        signer,
        epoch,
        voucher,
        spentUsdc,
        calls,
        priceUsdc,
      }),
    )
    const batch = due.length > 0 ? await ledger.batches.create({ candidates, receiptsMax }) : undefined
    if (batch)
      log.info('batch_created', { batch: batch.id, rows: batch.rows.length, receipts: batch.receipts })
    return batch
  }

  async function settleInTurn(signal: AbortSignal): Promise<SettlementResult> {
    const turn = lane.then(() => settleAll(signal))
    lane = turn.catch(() => undefined)
    return raceSignal(turn, signal)
  }

  /** Some grant's last moment is near. */
  function isUrgent(): boolean {
    const nearMs = clock.nowMs() + limits.settleMarginMs
    return ledger.unsettled(mirror.grant).some(({ grant }) => settleDeadline(grant) * 1000 <= nearMs)
  }

  function nextLookMs(sinceMs: number): number {
    if (failures === 0)
      return Math.max(0, Math.min(sinceMs + intervalMs - clock.monotonicMs(), limits.settleMarginMs / 2))
    const bounds = { delayMsMin: limits.settleRetryDelayMsMin, delayMsMax: limits.settleRetryDelayMsMax }
    return backoffDelayMs(failures - 1, { ...bounds, random })
  }

  async function keepSettling(): Promise<void> {
    const { signal } = closing
    let sinceMs = clock.monotonicMs()
    while (!signal.aborted) {
      const isRung = await alarm.wait(nextLookMs(sinceMs), signal)
      const isTime = isRung || failures > 0 || clock.monotonicMs() >= sinceMs + intervalMs || isUrgent()
      if (signal.aborted) return
      if (!isTime) continue
      sinceMs = clock.monotonicMs()
      try {
        await settleInTurn(signal)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        failures += 1
        log.warn('settlement_failed', { failures, error: String(error) })
      }
    }
  }

  const kept = keepSettling()

  return {
    settleNow: settleInTurn,
    onSettled(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    status: () => ({
      unsettledUsdc: ledger
        .unsettled(mirror.grant)
        .reduce((sum, { amountUsdc, grant }) => (sum + amountUsdc - grant.spentUsdc) as Usdc, zeroUsdc),
      failures,
    }),
    async [Symbol.asyncDispose]() {
      for (const stop of stopListening) stop()
      closing.abort(new DOMException('The settler is closing.', 'AbortError'))
      await kept
      try {
        // One request that failed is no reason to leave without settling; a chain that is down says so once more.
        if (mirror.status().lostSinceMs !== undefined) {
          await mirror.refresh(AbortSignal.timeout(limits.rpcTimeoutMs))
        }
        await settleInTurn(AbortSignal.timeout(limits.shutdownTimeoutMs))
      } catch (error) {
        // All of it is in the ledger; the next start goes on from there.
        log.warn('settlement_postponed', { error: String(error) })
      }
    },
  }
}

/** A sleep that can be ended. */
function createAlarm(clock: Clock) {
  let bell = Promise.withResolvers<boolean>()
  return {
    ring: () => bell.resolve(true),
    /** Ends after `delayMs`, at a ring (also one that came before), or when `signal` aborts. @returns whether it rang. */
    async wait(delayMs: number, signal: AbortSignal): Promise<boolean> {
      const done = new AbortController()
      const slept = clock.sleep(delayMs, AbortSignal.any([signal, done.signal])).catch(() => undefined)
      const isRung = await Promise.race([slept.then(() => false), bell.promise])
      done.abort()
      if (isRung) bell = Promise.withResolvers()
      return isRung
    },
  }
}
