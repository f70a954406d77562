import type { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { ChargeRecord } from './records.ts'

/** The queue of records: at most one group is being synced, the next one gathers meanwhile. */
export interface ChargeGroups {
  /** Nothing is queued or being synced. */
  readonly isIdle: boolean
  /** Resolves when the record's group is on disk, with the record's receipt, signed. */
  append(record: ChargeRecord): Promise<string>
  /** The group that was sent last is on disk. @param receipts - Its receipts, signed, in their order. */
  committed(receipts: readonly string[]): void
  rejectAll(error: ProtocolError): void
}

/** Sends a group on its way to the disk; `committed` says that it got there. */
export type SendGroup = (group: readonly ChargeRecord[]) => void

interface Waiter {
  readonly resolve: (signedReceipt: string) => void
  readonly reject: (error: ProtocolError) => void
}

/**
 * What finishes in one turn of the event loop, or while the disk is busy, shares a transaction, a sync and a signature. To
 * wait for more than that was tried: groups grew, and calls came in bursts that cost as much as was saved.
 */
export function createChargeGroups(send: SendGroup): ChargeGroups {
  let queued: ChargeRecord[] = []
  let queuedWaiters: Waiter[] = []
  let syncing: Waiter[] | undefined
  let isDue = false

  function sync(): void {
    isDue = false
    if (syncing || queued.length === 0) return
    syncing = queuedWaiters.splice(0, limits.ledgerGroupRecordsMax)
    send(queued.splice(0, limits.ledgerGroupRecordsMax))
  }

  return {
    get isIdle() {
      return syncing === undefined && queued.length === 0
    },
    append: (record) =>
      new Promise((resolve, reject) => {
        queued.push(record)
        queuedWaiters.push({ resolve, reject })
        if (syncing || isDue) return
        isDue = true
        setImmediate(sync)
      }),
    committed(receipts) {
      const done = syncing ?? []
      syncing = undefined
      // A disk should not wait until everybody has heard of the last group.
      sync()
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
