import type { Hex } from 'viem'
import type { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'

/** A call as it came in at the provider's front. */
export interface CallRequest {
  readonly request: IncomingRequest
  readonly response: OutgoingResponse
  readonly cid: string
  /** Path and query as the program sees them. */
  readonly target: string
  /** Says a problem to the caller, with the call's id where there is one. */
  readonly refuse: (error: ProtocolError, callId?: Hex, rawHeaders?: RawHeaders) => void
  /** Aborts when the caller leaves before it has the whole answer. */
  readonly signal: AbortSignal
}
