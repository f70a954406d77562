import type { Address } from 'viem'
import { backoffDelayMs } from '../../protocol/base/backoff.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import type { GrantMirror } from '../../protocol/chain/grant-mirror.ts'
import type { TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { settleDeadline } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { formatUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { Ledger, UnsettledAccount } from '../ledger/ledger.ts'
import type { Batch, BatchCandidate } from '../ledger/records.ts'
import { chooseDue, chooseUncounted, createAttempts } from './choose-due.ts'
import { decideWorth, type FeeLimit } from './decide-worth.ts'
import { type SettledBatch, settleBatch } from './settle-batch.ts'
import { createUnsettledWatch, type UnsettledStatus } from './watch-unsettled.ts'

/**
 * Turns charges into escrow balance, and has trial calls counted: by interval, when much has gathered, at once when a payer revokes, before a grant's
 * last moment to settle, and at shutdown. What it sends is cumulative and durable before it leaves, so a crash anywhere
 * costs nothing and pays nothing twice. The chain may be away for days: it keeps trying, and nothing is lost.
 */
export interface Settler extends AsyncDisposable {
  /**
   * Settles all that is due now, whatever gas costs below the sender's ceiling. Resolves when it is mined.
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

export interface SettlerStatus extends UnsettledStatus {
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
  /**
   * Waits with a settlement while gas would take more of it. Not when a payer has revoked, before a grant's last moment,
   * or at shutdown. Left out, it never waits.
   */
  readonly feeLimit?: FeeLimit
  /** Warns when so much is owed. */
  readonly alarmUsdc?: Usdc
  /** Warns when something has been owed for so long; an hour by default. */
  readonly alarmAgeMs?: number
  /** At most so many payers in one transaction. */
  readonly rowsMax?: number
  /** At most so many receipts under one usage root. */
  readonly receiptsMax?: number
}

export function createSettler(deps: SettlerDeps, options: SettlerOptions): Settler {
  const { ledger, mirror, sender, clock, log, random = Math.random } = deps
  const {
    escrow,
    intervalMs,
    thresholdUsdc,
    feeLimit,
    rowsMax = limits.settleRowsMax,
    receiptsMax = limits.settleReceiptsMax,
  } = options
  const closing = new AbortController()
  const alarm = createAlarm(clock)
  const attempts = createAttempts()
  const listeners = new Set<(batch: SettledBatch) => void>()
  const watch = createUnsettledWatch(
    { clock, log, readUnsettled },
    { alarmUsdc: options.alarmUsdc, alarmAgeMs: options.alarmAgeMs ?? limits.unsettledAgeAlarmMs },
  )
  let failures = 0
  let gatheredUsdc = 0n
  let hasRevoked = false
  let lane: Promise<unknown> = Promise.resolve()

  const stopListening = [
    ledger.onCharged((amountUsdc) => {
      gatheredUsdc += amountUsdc
      watch.charged(amountUsdc)
      if (thresholdUsdc !== undefined && gatheredUsdc >= thresholdUsdc) alarm.ring()
    }),
    mirror.onChange(({ kind }) => {
      if (kind !== 'revoked') return
      hasRevoked = true
      alarm.ring()
    }),
  ]

  function readUnsettled(): Usdc {
    return ledger
      .unsettled(mirror.grant)
      .reduce((sum, { amountUsdc, grant }) => (sum + amountUsdc - grant.spentUsdc) as Usdc, zeroUsdc)
  }

  /**
   * Ends what an earlier run began, then takes one batch after another until nothing is due.
   *
   * @param mayWait - Whether it may leave what is due for later, while gas takes too much of it.
   */
  async function settleAll(
    { mayWait }: { mayWait: boolean },
    signal: AbortSignal,
  ): Promise<SettlementResult> {
    signal.throwIfAborted()
    gatheredUsdc = 0n
    watch.settlementBegan()
    // Settlements and payments of blocks that are gone come back first; a chain that is away says so when something is due.
    await sender.tend(signal).catch(() => signal.throwIfAborted())
    let isLeft = false
    const settled: SettledBatch[] = []
    const settle = async (batch: Batch) => {
      const done = await settleBatch(deps, { batch, escrow }, signal)
      if (!done) return
      attempts.note(done)
      settled.push(done)
      for (const listener of listeners) listener(done)
    }
    for (const batch of await ledger.batches.readOpen()) await settle(batch)
    const nextBatch = async () => {
      // A chain that has gone away leaves the mirror as it was; sending will say so.
      await mirror.refresh(signal).catch(() => signal.throwIfAborted())
      const due = await chooseAccounts()
      isLeft = mayWait && due.length > 0 && !(await isWorthIt(due, signal))
      const batch = isLeft ? undefined : await createBatch(due)
      // Trial calls bring nothing, so where gas has a limit they go with a settlement that does not look at it.
      return batch ?? (mayWait && feeLimit ? undefined : createTrialBatch())
    }
    for (let batch = await nextBatch(); batch; batch = await nextBatch()) await settle(batch)
    // What was mined may be final by now.
    for (const batch of await ledger.batches.readOpen()) await settle(batch)
    if (!isLeft) watch.settlementEnded()
    return { batches: settled }
  }

  async function chooseAccounts(): Promise<UnsettledAccount[]> {
    const open = await ledger.batches.readOpen()
    return chooseDue(ledger.unsettled(mirror.grant), { open, attempts, rowsMax })
  }

  async function isWorthIt(due: readonly UnsettledAccount[], signal: AbortSignal): Promise<boolean> {
    if (!feeLimit) return true
    const valueUsdc = due.reduce(
      (sum, { amountUsdc, grant }) => sum + amountUsdc - grant.spentUsdc,
      0n,
    ) as Usdc
    const gasPriceWei = await sender.readGasPriceWei(signal)
    const { isWorthIt, feeUsdc } = decideWorth({ valueUsdc, rows: due.length, gasPriceWei }, feeLimit)
    if (!isWorthIt)
      log.info('settlement_waits', {
        value: formatUsdc(valueUsdc),
        fee: formatUsdc(feeUsdc),
        rows: due.length,
      })
    return isWorthIt
  }

  function createBatch(due: readonly UnsettledAccount[]): Promise<Batch | undefined> {
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
    return createBatchOf(candidates)
  }

  async function createTrialBatch(): Promise<Batch | undefined> {
    const open = await ledger.batches.readOpen()
    const due = chooseUncounted(ledger.uncounted(mirror.credits), { open, attempts, rowsMax })
    attempts.begin(due)
    const candidates = due.map(({ payer, signer, epoch, credits: { granted, used } }) => ({
      payer,
      signer,
      epoch,
      granted,
      used,
    }))
    return createBatchOf(candidates)
  }

  async function createBatchOf(candidates: readonly BatchCandidate[]): Promise<Batch | undefined> {
    const batch = candidates.length > 0 ? await ledger.batches.create({ candidates, receiptsMax }) : undefined
    if (batch)
      log.info('batch_created', { batch: batch.id, rows: batch.rows.length, receipts: batch.receipts })
    return batch
  }

  async function settleInTurn(how: { mayWait: boolean }, signal: AbortSignal): Promise<SettlementResult> {
    const turn = lane.then(() => settleAll(how, signal))
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
      watch.look()
      if (!isTime) continue
      sinceMs = clock.monotonicMs()
      const isForced = hasRevoked || isUrgent()
      hasRevoked = false
      try {
        await settleInTurn({ mayWait: !isForced }, signal)
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        hasRevoked ||= isForced
        failures += 1
        log.warn('settlement_failed', { failures, error: String(error) })
      }
    }
  }

  // Whoever comes back after a crash may have been away for long, and a payer may have left meanwhile.
  if (readUnsettled() > 0n) alarm.ring()
  const kept = keepSettling()

  return {
    settleNow: (signal) => settleInTurn(atOnce, signal),
    onSettled(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    status: () => ({ ...watch.status(), failures }),
    async [Symbol.asyncDispose]() {
      for (const stop of stopListening) stop()
      closing.abort(new DOMException('The settler is closing.', 'AbortError'))
      await kept
      try {
        // One request that failed is no reason to leave without settling; a chain that is down says so once more.
        if (mirror.status().lostSinceMs !== undefined) {
          await mirror.refresh(AbortSignal.timeout(limits.rpcTimeoutMs))
        }
        await settleInTurn(atOnce, AbortSignal.timeout(limits.shutdownTimeoutMs))
      } catch (error) {
        // All of it is in the ledger; the next start goes on from there.
        log.warn('settlement_postponed', { error: String(error) })
      }
    },
  }
}

const atOnce = { mayWait: false }

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
