import { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import type { Payer } from '../../protocol/payer.ts'
import { type Ballot, parseBallot, swarmHeaders } from '../../protocol/swarm/ballot.ts'
import { noPaymentsForSwarms } from '../../protocol/swarm/refusals.ts'

/** @returns undefined for any other call. @throws ProtocolError `ballot_invalid` */
export function readBallot({ headers, switchesTo }: IncomingRequest): Ballot | undefined {
  const text = headers[swarmHeaders.ballot]
  if (text === undefined) return undefined
  if (typeof text !== 'string' || switchesTo) {
    throw new ProtocolError('ballot_invalid', 'Nobody can vote on a WebSocket, or twice.', {
      hint: 'Send one header Khachapuri-Ballot, with a request that has one answer.',
    })
  }
  return parseBallot(text)
}

/** @throws ProtocolError `ballot_payment_unsupported` */
export function assertPaysForBallot({ kind }: Payer): void {
  if (kind === 'x402') throw noPaymentsForSwarms()
}

export const noKeyedBallots = () =>
  new ProtocolError('ballot_invalid', 'A ballot has no Idempotency-Key: its answer is not kept.', {
    hint: 'Send it without the header.',
  })
