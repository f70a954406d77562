import type { Clock } from '../../../protocol/base/clock.ts'
import { isProtocolError, ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import { addAllowances, type EgressAllowance } from '../../egress/budget.ts'
import type { EgressProxy } from '../../egress/egress-proxy.ts'
import { InvalidAnswer } from '../cgi/cgi.ts'
import { explainEgress } from '../explain-egress.ts'
import { createPacer } from '../pacer.ts'
import { readBounded } from '../read-bounded.ts'
import type { Redact } from '../redact.ts'
import { createCall, isWaitingForCaller, type RunningCall, tooSlow } from '../running-call.ts'
import type {
  Breach,
  CallOutcome,
  Death,
  Instance,
  KillReason,
  ProgramLimits,
  StartOptions,
} from '../runtime.ts'
import type { Cell } from '../sandbox/cell.ts'
import type { Watchdog } from '../watchdog.ts'
import { createWeigher } from '../weigher.ts'
import { createCgiAnswer, HeadTooLarge, TooLarge } from './cgi-answer.ts'
import { feedInput } from './feed-input.ts'
import { createLastLine, describeExit } from './last-line.ts'

export interface CgiDeps {
  readonly clock: Clock
  readonly watchdog: Watchdog
  /** A sandbox that waits for what to run. */
  readonly take: (signal: AbortSignal) => Promise<Cell>
  /** A sandbox was used up, and its taker is done. */
  readonly refill: () => void
  /** Opens the way out of a program that runs. */
  readonly openWayOut: (cell: Cell, signal: AbortSignal) => Promise<EgressProxy | undefined>
}

export interface CgiOptions {
  readonly limits: ProgramLimits
  /** What the sandbox is told. @throws ProtocolError `bad_request` for a head that fits no environment */
  readonly launch: (request: RunningCall['request']) => Buffer
  readonly redact: Redact
  readonly onOutput: ((chunk: Buffer) => void) | undefined
  readonly onBreach?: StartOptions['onBreach']
}

/** A call that has a process, or waits for one. */
interface CgiCall extends RunningCall {
  readonly gone: AbortController
  cell: Cell | undefined
  /** When its process began. */
  beganMs: number
  stopInput: () => void
}

/**
 * Runs a process for each call (RFC 3875): its environment is the request's head, its input the body, its output the
 * answer. When it has exited nothing of it is left, so no call can harm another one. It never dies by itself.
 */
export function createCgiInstance(
  { clock, watchdog, take, refill, openWayOut }: CgiDeps,
  options: CgiOptions,
): Instance {
  const { timeoutMs, memoryMiB, cpuMs = timeoutMs } = options.limits
  const responseBytesMax = options.limits.responseBytes ?? limits.responseBodyBytesMax
  const calls = new Set<CgiCall>()
  const pacer = createPacer({
    shareBytes: limits.programBytesPerTurnMax,
    rest: () => (watch.isAlone ? undefined : clock.sleep(limits.programPouringRestMs, stopping.signal)),
    hold() {
      for (const { cell } of calls) cell?.stdout.pause()
    },
    letGo() {
      for (const { cell, isPaused } of calls) if (!isPaused) cell?.stdout.resume()
    },
  })
  const weigher = createWeigher(clock.monotonicMs())
  const queue: CgiCall[] = []
  /** Processes that run, or have not been cleared away. */
  const busy = new Set<Promise<void>>()
  const idleWaiters: (() => void)[] = []
  const stopping = new AbortController()
  const dead = Promise.withResolvers<Death>()
  let killed: KillReason | undefined
  let callsAnswered = 0
  let usedCpuMs = 0
  let usedEgress: EgressAllowance | undefined

  const watch = watchdog.watch(() => {
    const nowMs = clock.monotonicMs()
    const weightPercent = weigher.look(nowMs)
    for (const call of calls) {
      call.cell?.weigh(weightPercent)
      checkTime(call, nowMs)
    }
    return calls.size > 0
  })

  function checkTime(call: CgiCall, nowMs: number): void {
    const elapsedMs = nowMs - call.checkedMs
    // Until it has a process it waits for us, and not for its program.
    if (!call.cell) {
      const why = queue.includes(call) ? 'All its processes were busy' : 'Its process did not start'
      if (elapsedMs > limits.cgiQueueMsMax) end(call, { kind: 'stopped', message: `${why} for too long.` })
      return
    }
    call.checkedMs = nowMs
    if (isWaitingForCaller(call)) call.waitedMs += elapsedMs
    else call.ranMs += elapsedMs
    if (call.ranMs > timeoutMs) end(call, { kind: 'timeout', timeoutMs })
    else if (cpuMs < timeoutMs && (call.cell.usage().cpuMs ?? 0) > cpuMs)
      end(call, { kind: 'out_of_cpu', cpuMs })
    else if (call.waitedMs > limits.idleTimeoutMs) end(call, { kind: 'refused', error: tooSlow() })
  }

  /** Forgets a call, with its process. @returns whether there was something to forget */
  function forget(call: CgiCall): boolean {
    if (!calls.delete(call)) return false
    const index = queue.indexOf(call)
    if (index >= 0) queue.splice(index, 1)
    call.stopInput()
    call.cell?.kill()
    call.gone.abort(new Error('The call is over.'))
    if (calls.size === 0) for (const resolve of idleWaiters.splice(0)) resolve()
    return true
  }

  function end(call: CgiCall, outcome: CallOutcome): void {
    if (!forget(call)) return
    if (outcome.kind === 'answered') callsAnswered++
    if (isBreach(outcome.kind)) options.onBreach?.({ kind: outcome.kind, startedMs: call.beganMs })
    call.handler.onEnd(outcome)
  }

  function startNext(): void {
    while (busy.size < limits.cgiProcessesMax) {
      const call = queue.shift()
      if (!call) return
      const running = run(call).finally(() => {
        busy.delete(running)
        refill()
        startNext()
      })
      busy.add(running)
    }
  }

  async function run(call: CgiCall): Promise<void> {
    let cell: Cell | undefined
    try {
      const launch = options.launch(call.request)
      cell = await take(call.gone.signal)
      if (!calls.has(call)) return
      call.cell = cell
      call.checkedMs = clock.monotonicMs()
      call.beganMs = call.checkedMs
      await answer(call, cell, launch)
    } catch (error) {
      if (!isProtocolError(error))
        end(call, { kind: 'stopped', message: 'Its process could not be started.' })
      else if (error.code === 'bad_request') end(call, { kind: 'refused', error })
      else end(call, { kind: 'stopped', message: error.message })
    } finally {
      if (cell) usedCpuMs += cell.usage().cpuMs ?? 0
      await cell?.[Symbol.asyncDispose]()
    }
  }

  async function answer(call: CgiCall, cell: Cell, launch: Buffer): Promise<void> {
    const lastLine = createLastLine()
    const received = createCgiAnswer(
      { method: call.request.method, bytesMax: responseBytesMax },
      call.handler,
    )
    const attempt = (step: () => void) => {
      try {
        if (calls.has(call)) step()
      } catch (error) {
        end(call, toFault(error, { redact: options.redact, responseBytesMax }))
      }
    }
    cell.stdout.on('data', (chunk: Buffer) => {
      pacer.take(chunk.length)
      weigher.take(chunk.length)
      attempt(() => received.push(chunk))
    })
    cell.stdout.on('error', () => undefined)
    if (call.isPaused || pacer.isHolding) cell.stdout.pause()
    readBounded(clock, cell.stderr, cell.ended, (chunk) => {
      lastLine.push(chunk)
      options.onOutput?.(Buffer.from(chunk))
    })
    cell.limitMemory(memoryMiB * 1024 * 1024)
    cell.control.on('error', () => undefined).end(launch)
    call.stopInput = feedInput(cell.stdin, call.request.body, () =>
      end(call, { kind: 'refused', error: brokenOff() }),
    )
    // A call has a way out of its own: whatever goes over it is this call's.
    await using egress = await openWayOut(cell, call.gone.signal)
    egress?.budget.callBegan()
    const exit = await cell.exited
    if (egress) usedEgress = addAllowances(egress.budget.used, usedEgress)
    if (!calls.has(call)) return
    if (exit.code === 0) {
      attempt(() => received.end())
      end(call, { kind: 'answered' })
    } else if (cell.wasOutOfMemory()) end(call, { kind: 'out_of_memory', memoryMiB })
    else if (cell.wasOutOfPids()) end(call, { kind: 'out_of_pids', pidsMax: limits.programPidsMax })
    else {
      const message = describeExit(exit, lastLine.text, options.redact)
      end(call, explainEgress({ kind: 'crashed', message }, egress?.budget, 0))
    }
  }

  function kill(reason: KillReason): void {
    if (killed) return
    killed = reason
    stopping.abort()
    for (const call of calls) end(call, toOutcome(reason))
    void Promise.allSettled(busy).then(() => dead.resolve(reason))
  }

  return {
    get inFlight() {
      return calls.size
    },
    get callsAnswered() {
      return callsAnswered
    },
    get isAlive() {
      return killed === undefined
    },
    whenIdle: () =>
      calls.size === 0 ? Promise.resolve() : new Promise((resolve) => idleWaiters.push(resolve)),
    whenDead: dead.promise,
    kill,
    usage() {
      const cells = [...calls].flatMap(({ cell }) => cell?.usage() ?? [])
      return {
        cpuMs: cells.reduce((sum, { cpuMs = 0 }) => sum + cpuMs, usedCpuMs),
        memoryBytes: cells.reduce((sum, { memoryBytes = 0 }) => sum + memoryBytes, 0),
        ...(usedEgress && { egress: usedEgress }),
      }
    },
    call(request, handler) {
      const call: CgiCall = {
        ...createCall(request, handler, { nowMs: clock.monotonicMs() }),
        gone: new AbortController(),
        cell: undefined,
        beganMs: 0,
        stopInput: () => undefined,
      }
      calls.add(call)
      watch.wake()
      if (killed) queueMicrotask(() => end(call, toOutcome(killed!)))
      else {
        queue.push(call)
        startNext()
      }
      return {
        pause() {
          call.isPaused = true
          call.cell?.stdout.pause()
        },
        resume() {
          call.isPaused = false
          if (!pacer.isHolding) call.cell?.stdout.resume()
        },
        abort: () => void forget(call),
      }
    },
    async [Symbol.asyncDispose]() {
      kill({ kind: 'stopped', why: 'it is shutting down' })
      watch[Symbol.dispose]()
      await dead.promise
    },
  }

  function toOutcome(reason: KillReason): CallOutcome {
    if (reason.kind === 'timeout') return { kind: 'timeout', timeoutMs }
    if (reason.kind === 'out_of_memory') return { kind: 'out_of_memory', memoryMiB }
    return { kind: 'stopped', message: `The provider stopped the program: ${reason.why}.` }
  }
}

/** An exit code is no breach: a process of this kind always ends. */
const isBreach = (kind: CallOutcome['kind']): kind is Breach['kind'] =>
  kind === 'timeout' || kind === 'out_of_memory' || kind === 'out_of_cpu' || kind === 'out_of_pids'

function toFault(
  error: unknown,
  { redact, responseBytesMax }: { redact: Redact; responseBytesMax: number },
): CallOutcome {
  if (error instanceof TooLarge) return { kind: 'output_too_large', bytesMax: responseBytesMax }
  if (error instanceof HeadTooLarge)
    return { kind: 'headers_too_large', bytesMax: limits.answerHeaderBytesMax }
  if (error instanceof InvalidAnswer) return { kind: 'output_invalid', message: redact(error.message) }
  throw error
}

function brokenOff(): ProtocolError {
  return new ProtocolError('bad_request', 'The request body broke off.', { hint: 'Send the whole body.' })
}
