import { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import type { Payer } from '../../protocol/payer.ts'
import type { Deployment } from '../deployments/deployments.ts'

/**
 * Refuses a WebSocket that could not become one, before anything is set aside for it. A program of its own process per
 * call has no connection to go on with, and there is no answer that could be kept for an `Idempotency-Key`.
 *
 * @throws ProtocolError `websocket_unsupported`, `bad_request`
 */
export function assertMaySwitch(
  { switchesTo, headers }: Pick<IncomingRequest, 'switchesTo' | 'headers'>,
  { spec: { runtime, native } }: Deployment,
): void {
  if (switchesTo === undefined) return
  if (runtime === 'wasm' || (runtime === 'native' && native !== 'http')) {
    throw unsupported(
      'A program that is started for each call takes no WebSockets.',
      'Deploy it as js, or as native with "native": "http".',
    )
  }
  if (headers['idempotency-key'] === undefined) return
  throw new ProtocolError(
    'bad_request',
    'A WebSocket cannot be repeated, so no Idempotency-Key goes with it.',
    {
      hint: 'Leave it out.',
    },
  )
}

/** @throws ProtocolError `websocket_unsupported` where there is a method with params, and nothing to go on talking to */
export function assertNoSwitch({ switchesTo }: Pick<IncomingRequest, 'switchesTo'>): void {
  if (switchesTo === undefined) return
  throw unsupported('An activation takes no WebSockets.', 'Send it as GET or POST.')
}

/** @throws ProtocolError `websocket_unsupported` for a payment that is made for one answer. */
export function assertPaysForSwitch(
  { switchesTo }: Pick<IncomingRequest, 'switchesTo'>,
  { kind }: Payer,
): void {
  if (switchesTo === undefined || kind !== 'x402') return
  throw unsupported('x402 does not pay for WebSockets.', 'Pay with a pass or vouchers.')
}

const unsupported = (message: string, hint: string) =>
  new ProtocolError('websocket_unsupported', message, { hint })
