import { type Duplex, Readable } from 'node:stream'
import { createBag } from '../../protocol/base/bag.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import { createHttpPool } from '../../protocol/http/h1-client.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { EgressProxy } from '../egress/egress-proxy.ts'
import { explainEgress } from './explain-egress.ts'
import { createPacer } from './pacer.ts'
import { createCall, isWaitingForCaller, type RunningCall, tooSlow } from './running-call.ts'
import type { CallOutcome, Death, Instance, KillReason, ProgramLimits } from './runtime.ts'
import type { Cell, CellExit } from './sandbox/cell.ts'
import type { Watchdog } from './watchdog.ts'
import { createWeigher } from './weigher.ts'

export interface InstanceDeps {
  readonly clock: Clock
  readonly watchdog: Watchdog
}

export interface InstanceOptions {
  /** Connects to where the program answers HTTP/1.1. */
  readonly connect: () => Duplex
  /** Whether the program could answer now; tells a program that hangs from a call that does. */
  readonly ping: () => Promise<boolean>
  /** Asks the process to end by itself, before it is ended. */
  readonly askToStop?: () => void
  readonly limits: ProgramLimits
  /** Recognises an answer that means a fault. */
  readonly readFault: (status: number, rawHeaders: RawHeaders) => Fault | undefined
  /** Its way out; absent where it has none. Ends with the instance. */
  readonly egress?: EgressProxy | undefined
  /** What a process that ended by itself died of. */
  readonly explainExit: (exit: { code: number | null; signal: string | null }) => Death
}

export type Fault = Extract<CallOutcome, { kind: 'crashed' | 'output_invalid' | 'stopped' }>

/** Puts calls through to a process that answers HTTP on a Unix socket, and holds it to its limits. */
export function createInstance(
  { clock, watchdog }: InstanceDeps,
  cell: Cell,
  options: InstanceOptions,
): Instance {
  const { timeoutMs, memoryMiB } = options.limits
  const budget = options.egress?.budget
  const cpuMsMax = options.limits.cpuMs ?? timeoutMs
  const webSocketMsMax = options.limits.webSocketMs ?? limits.webSocketMsMax
  const responseBytesMax = options.limits.responseBytes ?? limits.responseBodyBytesMax
  // One core for as long as a call may take is within the bound whatever it does.
  const isCpuCounted = cpuMsMax < timeoutMs
  const pool = createHttpPool({
    connect: options.connect,
    connectionsMax: limits.callsInFlightPerInstanceMax,
    requestsWaitingMax: 0,
    // The watchdog counts more exactly, and knows who is waiting for whom.
    firstByteTimeoutMs: limits.callTimeoutMsMax + limits.idleTimeoutMs,
    idleTimeoutMs: limits.idleTimeoutMs,
    keepAliveMs: limits.programKeepAliveMs,
  })
  const calls = createBag<RunningCall>()
  const pacer = createPacer({
    shareBytes: limits.programBytesPerTurnMax,
    rest: () => (watch.isAlone ? undefined : clock.sleep(limits.programPouringRestMs, dead.signal)),
    hold() {
      for (const call of calls.items()) call.exchange?.pause()
    },
    letGo() {
      for (const call of calls.items()) if (!call.isPaused) call.exchange?.resume()
    },
  })
  const weigher = createWeigher(clock.monotonicMs())
  const idleWaiters: (() => void)[] = []
  const dead = new AbortController()
  let killed: KillReason | undefined
  let death: Death | undefined
  let pinging: Promise<boolean> | undefined
  let background: { startMs: number; lastMs: number; quietTicks: number } | undefined
  let callsAnswered = 0
  let webSockets = 0
  let stopping: Promise<void> | undefined
  let seenCpuMs = 0

  const whenDead = cell.exited.then((exit) => {
    death = killed ?? explainDeath(exit)
    dead.abort()
    pool.close()
    for (const call of calls.items()) end(call, toOutcome(death))
    return death
  })

  const watch = watchdog.watch(() => {
    const nowMs = clock.monotonicMs()
    cell.weigh(weigher.look(nowMs))
    if (isCpuCounted || webSockets > 0) checkCpu()
    for (const call of calls.items()) {
      if (call.webSocket) checkWebSocket(call, call.webSocket, nowMs)
      else checkTime(call, nowMs)
    }
    if (cell.isMemoryUnguarded && cell.wasOutOfMemory()) kill({ kind: 'out_of_memory' })
    if (calls.size === 0) return checkAfterwards()
    background = undefined
    return true
  })

  function explainDeath(exit: CellExit): Death {
    if (cell.wasOutOfMemory()) return { kind: 'out_of_memory' }
    return cell.wasOutOfPids() ? { kind: 'out_of_pids' } : options.explainExit(exit)
  }

  /** Nothing tells whose call a process works for: those in flight share what it used since the last look evenly. */
  function checkCpu(): void {
    const { cpuMs } = cell.usage()
    if (cpuMs === undefined) return
    const share = (cpuMs - seenCpuMs) / calls.size
    seenCpuMs = cpuMs
    for (const call of calls.items()) {
      if (!isCpuCounted && !call.webSocket) continue
      call.cpuMs += share
      if (call.cpuMs > cpuMsMax) stopLate(call, { kind: 'out_of_cpu', cpuMs: cpuMsMax })
    }
  }

  /** A program that goes on working when nobody waits for it has the time of one call for that. @returns whether to look on. */
  function checkAfterwards(): boolean {
    const { cpuMs } = cell.usage()
    if (death || killed || cpuMs === undefined) return false
    background ??= { startMs: cpuMs, lastMs: cpuMs, quietTicks: 0 }
    const isQuiet = cpuMs - background.lastMs < limits.watchdogIntervalMs / 5
    background.quietTicks = isQuiet ? background.quietTicks + 1 : 0
    background.lastMs = cpuMs
    if (cpuMs - background.startMs > timeoutMs) kill({ kind: 'timeout' })
    return background.quietTicks < quietTicksEnough
  }

  function checkTime(call: RunningCall, nowMs: number): void {
    const elapsedMs = nowMs - call.checkedMs
    call.checkedMs = nowMs
    if (isWaitingForCaller(call)) call.waitedMs += elapsedMs
    else call.ranMs += elapsedMs
    if (call.ranMs > timeoutMs) stopLate(call, { kind: 'timeout', timeoutMs })
    else if (call.waitedMs > limits.idleTimeoutMs) stopSlow(call)
  }

  /**
   * Nobody can say whose turn it is on a WebSocket, so its bounds are its own: they end it, and it was answered. The time
   * that its program works on it is bounded like that of any call, by its processor time.
   */
  function checkWebSocket(call: RunningCall, { sinceMs, movedMs }: OpenWebSocket, nowMs: number): void {
    if (nowMs - sinceMs <= webSocketMsMax && nowMs - movedMs <= limits.webSocketIdleMsMax) return
    end(call, { kind: 'answered', isCut: true })
    call.exchange?.abort()
  }

  function switchProtocols(call: RunningCall): void {
    const nowMs = clock.monotonicMs()
    const webSocket = { sinceMs: nowMs, movedMs: nowMs }
    call.webSocket = webSocket
    if (!isCpuCounted && webSockets === 0) seenCpuMs = cell.usage().cpuMs ?? seenCpuMs
    webSockets++
    // It flows by now; nobody else is kept from anything by one who counts.
    const { body } = call.request
    if (body instanceof Readable) body.on('data', () => (webSocket.movedMs = clock.monotonicMs()))
  }

  /** A caller that trickles may not hold a place for ever. */
  function stopSlow(call: RunningCall): void {
    end(call, { kind: 'refused', error: tooSlow() })
    call.exchange?.abort()
  }

  /** A call that waits for ever is stopped alone; a program that no longer answers anybody goes with all its calls. */
  function stopLate(call: RunningCall, outcome: CallOutcome): void {
    end(call, outcome)
    call.exchange?.abort()
    pinging ??= options.ping().then((isAlive) => {
      pinging = undefined
      if (!isAlive) kill({ kind: 'timeout' })
      return isAlive
    })
  }

  function kill(reason: KillReason): void {
    if (killed || death) return
    killed = reason
    if (reason.kind === 'stopped' && options.askToStop) stopping = stopGently(options.askToStop)
    else cell.kill()
    for (const call of calls.items()) {
      end(call, toOutcome(reason))
      call.exchange?.abort()
    }
  }

  async function stopGently(askToStop: () => void): Promise<void> {
    askToStop()
    await clock.sleep(limits.programStopMsMax, dead.signal).catch(() => undefined)
    cell.kill()
  }

  function toOutcome(reason: Death): CallOutcome {
    switch (reason.kind) {
      case 'timeout':
        return { kind: 'crashed', message: 'Another call kept it busy for longer than its limit.' }
      case 'out_of_memory':
        return { kind: 'out_of_memory', memoryMiB }
      case 'out_of_pids':
        return { kind: 'out_of_pids', pidsMax: limits.programPidsMax }
      case 'stopped':
        return { kind: 'stopped', message: `The provider stopped the program: ${reason.why}.` }
      case 'crashed':
        return reason
    }
  }

  function end(call: RunningCall, outcome: CallOutcome, trailers?: RawHeaders): void {
    if (!forget(call)) return
    if (outcome.kind === 'answered') callsAnswered++
    call.handler.onEnd(explainEgress(outcome, budget, call.egressBreaches), trailers)
  }

  function forget(call: RunningCall): boolean {
    if (!calls.delete(call)) return false
    if (call.webSocket) webSockets--
    budget?.callEnded()
    if (calls.size === 0) for (const resolve of idleWaiters.splice(0)) resolve()
    return true
  }

  function fail(call: RunningCall, error: ProtocolError, isUntaken: boolean | undefined): void {
    const reason = death ?? killed
    if (typeof error.details['headerBytesMax'] === 'number') {
      end(call, { kind: 'headers_too_large', bytesMax: limits.answerHeaderBytesMax })
    } else if (error.code === 'provider_answer_invalid') {
      end(call, { kind: 'output_invalid', message: error.message })
    } else if (error.code !== 'provider_unreachable') {
      end(call, { kind: 'refused', error })
    } else if (reason) {
      end(call, toOutcome(reason))
    } else if (!cell.hasFolder) {
      // Nobody reaches it any more, and that is not its doing.
      kill({ kind: 'stopped', why: 'the folder of its sandbox has gone' })
    } else {
      // The sockets of a process close before it is gone, and only then is it known what it died of.
      void clock.sleep(limits.programDeathMsMax, dead.signal).then(
        () =>
          end(call, {
            kind: 'crashed',
            message: isUntaken ? 'It listens no more.' : 'It broke its answer off.',
          }),
        () => undefined,
      )
    }
  }

  return {
    get inFlight() {
      return calls.size
    },
    get callsAnswered() {
      return callsAnswered
    },
    get isAlive() {
      return death || killed ? false : (pinging ?? true)
    },
    whenIdle: () =>
      calls.size === 0 ? Promise.resolve() : new Promise((resolve) => idleWaiters.push(resolve)),
    whenDead,
    kill,
    usage: () => ({ ...cell.usage(), ...(budget && { egress: budget.used }) }),
    call(request, handler) {
      const call = createCall(request, handler, {
        nowMs: clock.monotonicMs(),
        egressBreaches: budget?.breaches ?? 0,
      })
      // What it did before was for others.
      if (isCpuCounted && calls.size === 0) seenCpuMs = cell.usage().cpuMs ?? seenCpuMs
      calls.add(call)
      budget?.callBegan()
      watch.wake()
      if (death || killed) queueMicrotask(() => end(call, toOutcome((death ?? killed)!)))
      else send(call)
      return {
        pause() {
          call.isPaused = true
          call.exchange?.pause()
        },
        resume() {
          call.isPaused = false
          if (!pacer.isHolding) call.exchange?.resume()
        },
        abort() {
          if (forget(call)) call.exchange?.abort()
        },
      }
    },
    async [Symbol.asyncDispose]() {
      kill({ kind: 'stopped', why: 'it is shutting down' })
      watch[Symbol.dispose]()
      pool.close()
      await stopping
      await Promise.all([cell[Symbol.asyncDispose](), options.egress?.[Symbol.asyncDispose]()])
    },
  }

  function send(call: RunningCall): void {
    let fault: Fault | undefined
    let receivedBytes = 0
    const exchange = pool.send(call.request, {
      onHead(status, rawHeaders) {
        if (!calls.has(call)) return
        if (status === 101) switchProtocols(call)
        fault = options.readFault(status, rawHeaders)
        if (!fault) call.handler.onHead(status, rawHeaders)
      },
      onData(chunk) {
        if (fault || !calls.has(call)) return
        receivedBytes += chunk.length
        pacer.take(chunk.length)
        weigher.take(chunk.length)
        if (call.webSocket) call.webSocket.movedMs = clock.monotonicMs()
        if (receivedBytes <= responseBytesMax) return call.handler.onData(chunk)
        end(call, { kind: 'output_too_large', bytesMax: responseBytesMax })
        call.exchange?.abort()
      },
      onEnd: (trailers) => end(call, fault ?? answered, trailers),
      onError: (error, isUntaken) => fail(call, error, isUntaken),
    })
    call.exchange = exchange
    if (call.isPaused || pacer.isHolding) exchange.pause()
    if (!calls.has(call)) exchange.abort()
  }
}

/** After as much rest a program is taken to have finished. */
const quietTicksEnough = 20

type OpenWebSocket = NonNullable<RunningCall['webSocket']>

const answered: CallOutcome = { kind: 'answered' }
