import { Worker } from 'node:worker_threads'
import { systemClock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
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
   * Resolves when the record is on disk; see `ChargeGroups`.
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

/** @throws ProtocolError `ledger_unavailable`, `config_invalid` */
export async function openJournal(options: JournalOptions): Promise<Journal> {
  // Published, both files are JavaScript.
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./journal-worker.${extension}`, import.meta.url), {
    workerData: options,
    name: 'journal',
  })
  const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  const totals = await receiveTotals(worker)
  const post = (request: JournalRequest) => worker.postMessage(request)

  let failure: ProtocolError | undefined
  let hasExited = false
  let isClosing = false
  const groups = createChargeGroups({
    clock: systemClock,
    send: (group) => post({ kind: 'commit', group: encodeGroup(group) }),
  })
  const queries = new Map<number, Waiter>()
  let queriesAsked = 0
  const drained = Promise.withResolvers<void>()

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
    if (response.kind === 'committed') groups.committed()
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
    append: (record, options) =>
      failure || isClosing
        ? Promise.reject(failure ?? queryFailed('it is closing'))
        : groups.append(record, options),
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

const queryFailed = (reason: string) =>
  new ProtocolError('ledger_unavailable', 'The ledger cannot do what was asked.', {
    hint: 'The operator must look at the disk of the data directory.',
    cause: reason,
  })

function receiveTotals(worker: Worker): Promise<JournalTotals> {
  return new Promise((resolve, reject) => {
    worker.once('error', reject)
    worker.once('message', (response: JournalResponse) => {
      worker.off('error', reject)
      if (response.kind === 'opened') resolve(response.totals)
      else reject(response.kind === 'refused' ? revive(response.failure) : new Error(response.kind))
    })
  })
}

function revive({ code, message, hint }: JournalFailure): ProtocolError {
  return new ProtocolError(code, message, { hint })
}
