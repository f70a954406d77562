import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import type { FindCertificate, TlsIdentity } from '../../protocol/http/secure-server.ts'
import type { ReadBlock } from '../../protocol/ipfs/block.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import type { StartClusterOptions } from '../cluster/open-cluster.ts'
import type { SeenCalls } from '../gateway.ts'
import type { FrontRules } from '../limits/front-rules.ts'
import type { SharedQuotas, Spend } from '../limits/spend-book.ts'
import type { PemPair } from '../tls/dev-authority.ts'
import type { FromWorker, ToWorker, WorkerStart } from './messages.ts'
import type { Sibling, Siblings } from './siblings.ts'

/** The further processes of a gateway. Disposal lets each end what it has in flight. */
export interface Workers extends AsyncDisposable {
  setRules(rules: FrontRules): void
  setIdentity(identity: TlsIdentity): void
  /** Tells what a provider has said. */
  tellAnnounced(text: string): void
  /** Tells what other gateways let through. */
  tellSpent(spends: readonly Spend[]): void
  /** The first process's own tunnels have changed. */
  notePresence(): void
  /** What each has counted. */
  readMetrics(): Promise<unknown[][]>
}

export interface WorkersDeps {
  readonly clock: Clock
  readonly log: Log
  readonly fetchSpec: ReadBlock
  /** Where the first process looks for tunnels of the others. */
  readonly siblings: Siblings
  /** Whose tunnels end in the first process. */
  readonly ownProviders: () => readonly Address[]
  /** Where the first process has certificates for domains of others. */
  readonly findCertificate: FindCertificate | undefined
  /** What the first process counts together with the others. */
  readonly quotas: SharedQuotas
  /** Hears of calls that went through the others. */
  readonly onSeen: (seen: SeenCalls) => void
}

export interface WorkersOptions {
  /** Beside the first process. */
  readonly count: number
  /** A folder of this user's alone. */
  readonly socketDir: string
  readonly homePath: string
  readonly start: Omit<WorkerStart, 'worker' | 'path' | 'homePath' | 'siblings'>
}

interface Worker {
  readonly path: string
  readonly child: ChildProcess
  readonly providers: Set<Address>
  isReady: boolean
}

/** @throws ProtocolError `internal` where one does not start */
export async function openWorkers(deps: WorkersDeps, options: WorkersOptions): Promise<Workers> {
  const { clock, log, siblings } = deps
  const workers = new Map<number, Worker>()
  const metrics = new Map<number, PromiseWithResolvers<unknown[]>>()
  const stop = new AbortController()
  let asked = 0
  let { rules, tls } = options.start.options

  const send = ({ child }: Worker, message: ToWorker): void => {
    if (child.connected) child.send(message, () => undefined)
  }

  /** Whom each process may ask: everybody's tunnels but its own. */
  function tellSiblings(): void {
    const home = { path: options.homePath, providers: deps.ownProviders() }
    const all = [...workers.values()].map(
      ({ path, providers }): Sibling => ({ path, providers: [...providers] }),
    )
    siblings.set(all)
    for (const worker of workers.values()) {
      send(worker, {
        kind: 'siblings',
        siblings: [home, ...all.filter(({ path }) => path !== worker.path)],
      })
    }
  }

  function tellSpent(spends: readonly Spend[], by: Worker | undefined): void {
    if (spends.length === 0) return
    for (const worker of workers.values()) if (worker !== by) send(worker, { kind: 'spent', spends })
  }

  function hear(worker: Worker, message: FromWorker): void {
    switch (message.kind) {
      case 'presence':
        if (message.isPresent) worker.providers.add(message.provider)
        else worker.providers.delete(message.provider)
        tellSiblings()
        break
      case 'metrics':
        metrics.get(message.id)?.resolve(message.metrics)
        break
      case 'block':
        void answerBlock(worker, message)
        break
      case 'certificate': {
        const { id, servername } = message
        const tell = (pair: PemPair | undefined) => send(worker, { kind: 'certificate', id, pair })
        deps.findCertificate?.(servername).then(
          (found) => tell(found && { cert: found.cert, key: found.key }),
          () => tell(undefined),
        )
        break
      }
      case 'spent':
        deps.quotas.charge(message.spends)
        tellSpent(message.spends, worker)
        break
      case 'seen':
        deps.onSeen(message.seen)
        break
      case 'ready':
        worker.isReady = true
        tellSiblings()
    }
  }

  async function answerBlock(
    worker: Worker,
    { id, cid }: Extract<FromWorker, { kind: 'block' }>,
  ): Promise<void> {
    try {
      const bytes = await deps.fetchSpec(parseContentCid(cid), stop.signal)
      send(worker, { kind: 'block', id, bytes })
    } catch (error) {
      const { code, message, hint } = toProtocolError(error)
      send(worker, { kind: 'block', id, problem: { code, message, hint } })
    }
  }

  async function startWorker(index: number): Promise<void> {
    const path = join(options.socketDir, `${index}-${asked++}.sock`)
    const child = fork(join(import.meta.dirname, 'worker.ts'), [], {
      serialization: 'advanced',
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const worker: Worker = { path, child, providers: new Set(), isReady: false }
    workers.set(index, worker)
    const { promise: settled, resolve, reject } = Promise.withResolvers<void>()
    // It may end before anybody waits for it.
    settled.catch(() => undefined)
    const late = setTimeout(() => {
      reject(notStarted(`it was not ready within ${limits.workerStartTimeoutMs} ms`))
      child.kill('SIGKILL')
    }, limits.workerStartTimeoutMs)
    settled.then(
      () => clearTimeout(late),
      () => clearTimeout(late),
    )
    child.on('message', (message: FromWorker) => {
      hear(worker, message)
      if (message.kind === 'ready') resolve()
      if (message.kind === 'failed') reject(notStarted(message.error))
    })
    child.on('error', (error) => reject(notStarted(error.message)))
    child.on('exit', (code, name) => {
      workers.delete(index)
      reject(notStarted(`it ended with ${code ?? name}`))
      if (stop.signal.aborted) return
      tellSiblings()
      log.error('worker_lost', { worker: index, code, signal: name })
      if (worker.isReady) void startAgain(index)
    })
    const { start } = options
    const cluster = start.cluster && placeOfProcess(start.cluster, index)
    const facts = { ...start, options: { ...start.options, ...(rules && { rules }), ...(tls && { tls }) } }
    send(worker, {
      kind: 'start',
      start: {
        ...facts,
        ...(cluster && { cluster }),
        worker: index,
        path,
        homePath: options.homePath,
        siblings: [],
      },
    })
    await settled
    log.info('worker_started', { worker: index, pid: child.pid })
  }

  /** Who ends by itself comes back; its callers and tunnels have found the others meanwhile. */
  async function startAgain(index: number): Promise<void> {
    while (!stop.signal.aborted) {
      await clock.sleep(limits.workerRestartDelayMs, stop.signal).catch(() => undefined)
      if (stop.signal.aborted) return
      try {
        return await startWorker(index)
      } catch (error) {
        if (stop.signal.aborted) return
        log.error('worker_failed', { worker: index, error: String(error) })
      }
    }
  }

  /** Of one that hangs, nothing: the others are to be seen then, above all. */
  async function readMetricsOf(worker: Worker): Promise<unknown[]> {
    const id = asked++
    const answer = Promise.withResolvers<unknown[]>()
    metrics.set(id, answer)
    const giveUp = () => answer.resolve([])
    const late = setTimeout(giveUp, limits.workerAnswerTimeoutMs)
    worker.child.once('exit', giveUp)
    send(worker, { kind: 'metrics', id })
    const read = await answer.promise
    clearTimeout(late)
    worker.child.off('exit', giveUp)
    metrics.delete(id)
    return read
  }

  const telling = repeat(
    { clock, onError: (error) => log.error('workers_untold', { error: String(error) }) },
    limits.workerSpendIntervalMs,
    async () => tellSpent(deps.quotas.takeSpent(), undefined),
  )

  async function dispose(): Promise<void> {
    stop.abort(new DOMException('The gateway closes.', 'AbortError'))
    await telling[Symbol.asyncDispose]()
    await Promise.all(
      [...workers.values()].map(async (worker) => {
        const ended = once(worker.child, 'exit')
        send(worker, { kind: 'stop' })
        // It ends by itself before, unless it hangs.
        const late = setTimeout(
          () => worker.child.kill('SIGKILL'),
          (options.start.options.shutdownTimeoutMs ?? limits.shutdownTimeoutMs) + limits.workerStopMarginMs,
        )
        await ended.finally(() => clearTimeout(late))
      }),
    )
  }

  try {
    await Promise.all(Array.from({ length: options.count }, (_, index) => startWorker(index + 1)))
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    setRules(next) {
      rules = next
      for (const worker of workers.values()) send(worker, { kind: 'rules', rules: next })
    },
    setIdentity(next) {
      tls = next
      for (const worker of workers.values()) send(worker, { kind: 'identity', identity: next })
    },
    tellAnnounced(text) {
      for (const worker of workers.values()) send(worker, { kind: 'announced', text })
    },
    tellSpent: (spends) => tellSpent(spends, undefined),
    notePresence: tellSiblings,
    readMetrics: () => Promise.all([...workers.values()].filter(({ isReady }) => isReady).map(readMetricsOf)),
    [Symbol.asyncDispose]: dispose,
  }
}

/** Each process has a place for hops of its own: where a port was given, those that follow it. */
function placeOfProcess(cluster: StartClusterOptions, index: number): StartClusterOptions {
  const { hopPort, hopUrl } = cluster
  const url = hopUrl === undefined ? undefined : new URL(hopUrl)
  if (url) url.port = String(Number(url.port || 80) + index)
  return { ...cluster, hopPort: hopPort === 0 ? 0 : hopPort + index, ...(url && { hopUrl: url.href }) }
}

function notStarted(reason: string): ProtocolError {
  return new ProtocolError('internal', `A worker of the gateway did not start: ${reason}.`, {
    hint: 'Its log says more; start with fewer --workers.',
  })
}
