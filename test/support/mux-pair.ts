import { createMux, type Mux, type MuxTransport } from '../../protocol/frames/mux.ts'
import type { MuxStream, Stream, StreamHandler } from '../../protocol/frames/mux-stream.ts'
import type { ResetReason } from '../../protocol/frames/reset-code.ts'

/** Two muxes and the wire between them, in virtual time: nothing waits for a real clock. */
export interface MuxPair {
  readonly gateway: Mux
  readonly provider: Mux
  readonly timeline: Timeline
  readonly wires: { readonly toProvider: Wire; readonly toGateway: Wire }
  nowMs(): number
  /** Runs `task` at a later virtual time. */
  at(delayMs: number, task: () => void): void
  /** Runs until nothing is left to do. */
  run(): Promise<void>
  /** Cuts the connection for both. */
  cut(): void
}

export interface Wire extends MuxTransport {
  /** The most that was ever taken and not yet on its way. */
  readonly bufferedBytesPeak: number
  readonly isDestroyed: boolean
  /** While it is stuck, nothing leaves. */
  isStuck: boolean
}

export interface MuxPairOptions {
  readonly onStream?: (stream: MuxStream, head: string) => StreamHandler
  readonly onGoaway?: () => void
  readonly onInvalid?: (side: 'gateway' | 'provider') => void
  /** One way. */
  readonly delayMs?: number
  readonly bytesPerMs?: number
  /** Large streams of the gateway. */
  readonly onLarge?: (stream: Stream) => void
  /** Whose time it shares, where both are to run together; `run` of either runs both. */
  readonly beside?: MuxPair
  /** Lengths of the pieces in which bytes arrive, in turn and again. */
  readonly cuts?: readonly number[]
}

export function createMuxPair(options: MuxPairOptions = {}): MuxPair {
  const timeline = options.beside?.timeline ?? createTimeline()
  const { at } = timeline

  const createWire = (receiver: () => Mux): Wire => {
    let buffered = 0
    let freeAtMs = 0
    let peak = 0
    let destroyed = false
    const stuck: (() => void)[] = []
    const wire: Wire & { isStuck: boolean } = {
      isStuck: false,
      send(parts, bytes, onSent) {
        buffered += bytes
        peak = Math.max(peak, buffered)
        // A copy, as a socket would make one.
        const message = Buffer.concat(parts, bytes)
        const leave = () => {
          freeAtMs =
            Math.max(freeAtMs, timeline.nowMs()) + bytes / (options.bytesPerMs ?? Number.POSITIVE_INFINITY)
          at(freeAtMs - timeline.nowMs(), () => {
            buffered -= bytes
            onSent()
            at(options.delayMs ?? 0, () => {
              if (!destroyed) for (const piece of cutUp(message, options.cuts)) receiver().receive(piece)
            })
          })
        }
        if (wire.isStuck) stuck.push(leave)
        else leave()
      },
      bufferedBytes: () => buffered,
      destroy: () => cut(),
      get bufferedBytesPeak() {
        return peak
      },
      get isDestroyed() {
        return destroyed
      },
    }
    destroyers.push(() => {
      destroyed = true
    })
    return wire
  }

  const destroyers: (() => void)[] = []
  const cut = () => {
    for (const destroy of destroyers) destroy()
    gateway.close()
    provider.close()
  }
  const clock = { monotonicMs: timeline.nowMs }
  const schedule = (flush: () => void) => at(0, flush)
  const toProvider = createWire(() => provider)
  const toGateway = createWire(() => gateway)
  const gateway: Mux = createMux({
    transport: toProvider,
    clock,
    schedule,
    onInvalid: () => options.onInvalid?.('gateway'),
    ...(options.onLarge && { onLarge: options.onLarge }),
    ...(options.onGoaway && { onGoaway: options.onGoaway }),
  })
  const provider: Mux = createMux({
    transport: toGateway,
    clock,
    schedule,
    scheduleAccepts: (tell) => at(1, tell),
    onInvalid: () => options.onInvalid?.('provider'),
    ...(options.onStream && { onStream: options.onStream }),
  })

  return {
    gateway,
    provider,
    wires: { toProvider, toGateway },
    timeline,
    nowMs: timeline.nowMs,
    at,
    run: timeline.run,
    cut,
  }
}

/** Virtual time, and what is to be done in it. */
export interface Timeline {
  nowMs(): number
  at(delayMs: number, task: () => void): void
  run(): Promise<void>
}

function createTimeline(): Timeline {
  const tasks: { dueMs: number; order: number; run: () => void }[] = []
  let now = 0
  let order = 0
  return {
    nowMs: () => now,
    at(delayMs, run) {
      const task = { dueMs: now + delayMs, order: order++, run }
      let index = tasks.length
      while (index > 0 && (tasks[index - 1] as { dueMs: number }).dueMs > task.dueMs) index--
      tasks.splice(index, 0, task)
    },
    async run() {
      for (let task = tasks.shift(); task; task = tasks.shift()) {
        now = Math.max(now, task.dueMs)
        task.run()
        await undefined
      }
    },
  }
}

function* cutUp(message: Buffer, cuts: readonly number[] = []): Generator<Buffer> {
  if (cuts.length === 0) return yield message
  for (let at = 0, turn = 0; at < message.length; turn++) {
    const length = Math.max(1, cuts[turn % cuts.length] as number)
    yield message.subarray(at, at + length)
    at += length
  }
}

/** A handler that writes down what happened. */
export interface Recorder extends StreamHandler {
  head: string | undefined
  readonly body: Buffer[]
  readonly bytes: number
  isAccepted: boolean
  isEnded: boolean
  reset: ResetReason | undefined
  isLost: boolean
}

export function createRecorder(hooks: Partial<StreamHandler> = {}): Recorder {
  let bytes = 0
  const recorder: Recorder = {
    head: undefined,
    body: [],
    get bytes() {
      return bytes
    },
    isAccepted: false,
    isEnded: false,
    reset: undefined,
    isLost: false,
    onHead(head) {
      recorder.head = head
      hooks.onHead?.(head)
    },
    onAccept() {
      recorder.isAccepted = true
      hooks.onAccept?.()
    },
    onData(chunk) {
      bytes += chunk.length
      recorder.body.push(chunk)
      hooks.onData?.(chunk)
    },
    onEnd(trailers) {
      recorder.isEnded = true
      hooks.onEnd?.(trailers)
    },
    onDrain: () => hooks.onDrain?.(),
    onReset(reason) {
      recorder.reset = reason
      hooks.onReset?.(reason)
    },
    onLost() {
      recorder.isLost = true
      hooks.onLost?.()
    },
  }
  return recorder
}

/** Writes `body` with regard to back-pressure, then ends. @returns what to call on drain. */
export function writeAll(stream: MuxStream, body: Buffer, pieceBytes: number): () => void {
  let at = 0
  const proceed = () => {
    while (at < body.length) {
      const piece = body.subarray(at, at + pieceBytes)
      at += piece.length
      if (!stream.write(piece)) return
    }
    stream.end()
  }
  proceed()
  return proceed
}
