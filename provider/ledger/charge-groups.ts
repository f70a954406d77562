import type { Clock } from '../../protocol/base/clock.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { ChargeRecord } from './records.ts'

/** The queue of records: at most one group is being synced, the next one gathers meanwhile. */
export interface ChargeGroups {
  /** Nothing is queued or being synced. */
  readonly isIdle: boolean
  /**
   * Resolves when the record's group is on disk, with the record's receipt, signed.
   *
   * @param options.othersComing - Whether calls in flight will bring records soon, so that waiting for them may be worth it.
   */
  append(record: ChargeRecord, options: { readonly othersComing: boolean }): Promise<string>
  /** The group that was sent last is on disk. @param receipts - Its receipts, signed, in their order. */
  committed(receipts: readonly string[]): void
  rejectAll(error: ProtocolError): void
}

export interface ChargeGroupsDeps {
  readonly clock: Pick<Clock, 'monotonicMs' | 'sleep'>
  /** Sends a group on its way to the disk; `committed` says that it got there. */
  readonly send: (group: readonly ChargeRecord[]) => void
}

interface Waiter {
  readonly resolve: (signedReceipt: string) => void
  readonly reject: (error: ProtocolError) => void
}

/**
 * A group costs a switch of threads and back, a transaction and a signature: together more than all else of a call. So
 * groups leave at most once in `ledgerGatherMs` while more calls are under way. A call that is alone never waits, and
 * neither does a disk that takes longer than that.
 */
export function createChargeGroups({ clock, send }: ChargeGroupsDeps): ChargeGroups {
  let queued: ChargeRecord[] = []
  let queuedWaiters: Waiter[] = []
  let syncing: Waiter[] | undefined
  let sentMs = Number.NEGATIVE_INFINITY
  let isUrgent = false
  let isDue = false
  let isGathering = false

  /** Lets the next group leave when it is time: what finishes in the same turn of the event loop is in it. */
  function plan(): void {
    if (syncing || isDue || queued.length === 0) return
    const isReady = isUrgent || queued.length >= limits.ledgerGroupRecordsReady
    const waitMs = isReady ? 0 : sentMs + limits.ledgerGatherMs - clock.monotonicMs()
    if (waitMs <= 0) {
      isDue = true
      setImmediate(sync)
    } else if (!isGathering) {
      isGathering = true
      void clock.sleep(waitMs, never).then(() => {
        isGathering = false
        // Timers and clocks differ by a fraction, for which nobody should wait once more.
        isUrgent ||= queued.length > 0
        plan()
      })
    }
  }

  function sync(): void {
    isDue = false
    if (syncing || queued.length === 0) return
    syncing = queuedWaiters.splice(0, limits.ledgerGroupRecordsMax)
    isUrgent &&= queued.length > limits.ledgerGroupRecordsMax
    sentMs = clock.monotonicMs()
    send(queued.splice(0, limits.ledgerGroupRecordsMax))
  }

  return {
    get isIdle() {
      return syncing === undefined && queued.length === 0
    },
    append: (record, { othersComing }) =>
      new Promise((resolve, reject) => {
        queued.push(record)
        queuedWaiters.push({ resolve, reject })
        isUrgent ||= !othersComing
        plan()
      }),
    committed(receipts) {
      const done = syncing ?? []
      syncing = undefined
      // A disk should not wait until everybody has heard of the last group.
      if (queued.length >= limits.ledgerGroupRecordsReady) sync()
      else plan()
      for (const [index, waiter] of done.entries()) waiter.resolve(receipts[index] as string)
    },
    rejectAll(error) {
      const lost = [...(syncing ?? []), ...queuedWaiters]
      queued = []
      queuedWaiters = []
      syncing = undefined
      for (const waiter of lost) waiter.reject(error)
    },
  }
}

const never = new AbortController().signal
