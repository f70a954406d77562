import { Worker } from 'node:worker_threads'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { DelegatedKey, ReceiptKey } from '../../protocol/receipt-key.ts'
import { type ChargeGroups, createChargeGroups } from './charge-groups.ts'
import { encodeGroup } from './group-wire.ts'
import type {
  JournalFailure,
  JournalOptions,
  JournalQueries,
  JournalRequest,
  JournalResponse,
} from './journal-worker.ts'
import type { JournalTotals } from './records.ts'

/**
 * The durable side of the ledger. Records that arrive while a group is being synced go into the next group, so one
 * fsync serves all calls that finished meanwhile, and never stops this thread.
 */
export interface Journal extends AsyncDisposable {
  readonly totals: JournalTotals
  /** Why nothing can be written any more; undefined while all is well. */
  readonly failure: ProtocolError | undefined
  /**
   * Resolves when the record is on disk, with its receipt, signed.
   *
   * @throws ProtocolError `ledger_unavailable`: it may or may not be.
   */
  readonly append: ChargeGroups['append']
  /** @throws ProtocolError `ledger_unavailable` */
  query<Name extends keyof JournalQueries>(
    name: Name,
    ...args: Parameters<JournalQueries[Name]>
  ): Promise<Awaited<ReturnType<JournalQueries[Name]>>>
}

interface Waiter {
  readonly resolve: (value: never) => void
  readonly reject: (error: ProtocolError) => void
}

export interface JournalDeps {
  readonly clock: Pick<Clock, 'nowMs'>
  /** Has the provider's account vouch for the key that signs receipts. */
  readonly delegate: (key: ReceiptKey) => Promise<DelegatedKey>
}

/** @throws ProtocolError `ledger_unavailable`, `config_invalid`; what `delegate` throws */
export async function openJournal(
  { clock, delegate }: JournalDeps,
  options: JournalOptions,
): Promise<Journal> {
  // Published, both files are JavaScript.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./journal-worker.${extension}`, import.meta.url), {
    workerData: options,
    name: 'journal',
  })
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const { totals, point } = await receiveOpened(worker)
  const post = (request: JournalRequest) => worker.postMessage(request)
  const vouch = async () => {
    const key = await delegate({ provider: options.identity.provider, ...point, ...keyLife(clock.nowMs()) })
    post({ kind: 'delegate', key })
    return key
  }
  let key = await vouch().catch(async (error: unknown) => {
    post({ kind: 'close' })
    await exited
    throw error
  })
  let renewing: Promise<void> | undefined

  let failure: ProtocolError | undefined
  let hasExited = false
  let isClosing = false
  const groups = createChargeGroups((group) => {
    const commit = () => post({ kind: 'commit', group: encodeGroup(group) })
    // Where nobody called for a month, or the clock was set, receipts of this group would not be in the key's time.
    if (isInTime(key, clock.nowMs())) commit()
    else void renew().then(commit)
    if (wantsRenewal(key, clock.nowMs())) void renew()
  })
  const queries = new Map<number, Waiter>()
  let queriesAsked = 0
  const drained = Promise.withResolvers<void>()

  /** A wallet that does not sign now is asked again by the next group. */
  function renew(): Promise<void> {
    renewing ??= vouch()
      .then(
        (next) => {
          key = next
        },
        () => undefined,
      )
      .finally(() => {
        renewing = undefined
      })
    return renewing
  }

  /** Nothing is written after a failure: what it left on disk is known only after opening again. */
  function fail(reason: string): void {
    failure ??= new ProtocolError('ledger_unavailable', 'The ledger cannot be written.', {
      hint: 'Nothing is charged without a receipt. The operator must free or repair the disk, and restart.',
      cause: reason,
    })
    groups.rejectAll(failure)
  }

  function settleQuery(id: number, settle: (waiter: Waiter) => void): void {
    const waiter = queries.get(id)
    queries.delete(id)
    if (waiter) settle(waiter)
  }

  worker.on('message', (response: JournalResponse) => {
    if (response.kind === 'committed') groups.committed(response.receipts)
    else if (response.kind === 'failed') fail(response.reason)
    else if (response.kind === 'result') {
      settleQuery(response.id, (waiter) => waiter.resolve(response.value as never))
    } else if (response.kind === 'query_failed') {
      settleQuery(response.id, (waiter) => waiter.reject(queryFailed(response.reason)))
    }
    if (isClosing && groups.isIdle && queries.size === 0) drained.resolve()
  })
  const die = (reason: string) => {
    hasExited = true
    fail(reason)
    for (const id of [...queries.keys()]) settleQuery(id, (waiter) => waiter.reject(queryFailed(reason)))
    drained.resolve()
  }
  worker.on('error', (error) => die(String(error)))
  worker.on('exit', () => die('the journal is closed'))

  return {
    totals,
    get failure() {
      return failure
    },
    append: (record) =>
      failure || isClosing ? Promise.reject(failure ?? queryFailed('it is closing')) : groups.append(record),
    query: (name, ...args) =>
      new Promise((resolve, reject) => {
        if (isClosing || hasExited) return reject(queryFailed('it is closed'))
        queriesAsked += 1
        queries.set(queriesAsked, { resolve, reject })
        post({ kind: 'query', id: queriesAsked, name, args })
      }),
    async [Symbol.asyncDispose]() {
      if (!isClosing && !hasExited) {
        isClosing = true
        if (groups.isIdle && queries.size === 0) drained.resolve()
        await drained.promise
        post({ kind: 'close' })
      }
      await exited
    },
  }
}

/**
 * A key lives as long as the process, and is vouched for a month at a time: who steals it out of the memory can make up
 * receipts of that month, and touch no money. An hour before, because clocks are set back.
 */
const keyLife = (nowMs: number) => ({
  validAfter: Math.floor(nowMs / 1000) - 3600,
  validBefore: Math.floor(nowMs / 1000) + keyLifeSeconds,
})
const keyLifeSeconds = 30 * 86_400

const isInTime = ({ validAfter, validBefore }: ReceiptKey, nowMs: number) =>
  nowMs / 1000 >= validAfter && nowMs / 1000 <= validBefore

/** Half of its life is over. */
const wantsRenewal = ({ validBefore }: ReceiptKey, nowMs: number) =>
  nowMs / 1000 > validBefore - keyLifeSeconds / 2

const queryFailed = (reason: string) =>
  new ProtocolError('ledger_unavailable', 'The ledger cannot do what was asked.', {
    hint: 'The operator must look at the disk of the data directory.',
    cause: reason,
  })

function receiveOpened(worker: Worker): Promise<JournalResponse & { kind: 'opened' }> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject)
    worker.once('message', (response: JournalResponse) => {
      worker.off('error', reject)
      if (response.kind === 'opened') resolve(response)
      else reject(response.kind === 'refused' ? revive(response.failure) : new Error(response.kind))
    })
  })
}

function revive({ code, message, hint }: JournalFailure): ProtocolError {
  return new ProtocolError(code, message, { hint })
}
