import { Readable } from 'node:stream'
import { type BagItem, inNoBag } from '../../protocol/base/bag.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { UpstreamExchange, UpstreamRequest } from '../../protocol/http/upstream.ts'
import type { CallHandler } from './runtime.ts'

/** A call in flight, with whose time it takes. */
export interface RunningCall extends BagItem {
  readonly request: UpstreamRequest
  readonly handler: CallHandler
  exchange: UpstreamExchange | undefined
  isPaused: boolean
  checkedMs: number
  /** Time that the program had. */
  ranMs: number
  /** Time that it spent waiting for a slow caller, which is nobody's fault but the caller's. */
  waitedMs: number
  /** Its share of the processor time. */
  cpuMs: number
  /** Set once it is a WebSocket. */
  webSocket: { readonly sinceMs: number; movedMs: number } | undefined
  /** How often its program had been refused more of the network before. */
  readonly egressBreaches: number
}

export function createCall(
  request: UpstreamRequest,
  handler: CallHandler,
  { nowMs, egressBreaches = 0 }: { nowMs: number; egressBreaches?: number },
): RunningCall {
  return {
    bagIndex: inNoBag,
    request,
    handler,
    exchange: undefined,
    isPaused: false,
    checkedMs: nowMs,
    ranMs: 0,
    waitedMs: 0,
    egressBreaches,
    cpuMs: 0,
    webSocket: undefined,
  }
}

/**
 * Whether the caller keeps the program waiting: it does not read the answer, or has not sent the rest of its request.
 * A body that is paused, or has bytes ready, waits for the program instead.
 */
export function isWaitingForCaller({ isPaused, request: { body } }: RunningCall): boolean {
  if (isPaused) return true
  if (!(body instanceof Readable)) return false
  return !body.readableEnded && !body.destroyed && !body.isPaused() && body.readableLength === 0
}

/** What a caller is told who kept a program waiting for too long. */
export function tooSlow(): ProtocolError {
  return new ProtocolError('request_timeout', 'The request came, or its answer was read, too slowly.', {
    hint: 'Send it again over a better connection.',
  })
}
