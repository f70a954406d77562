import type { Duplex } from 'node:stream'
import { egressHeader } from '../../protocol/egress.ts'
import { isProtocolError, ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import type { HttpResponse } from '../../protocol/http/listener.ts'
import { rawProblem, sendProblem } from '../../protocol/http/problem-response.ts'
import { describeBreach, type EgressResource } from './budget.ts'

/** Answers a program in the server's place, with a reason that it can read. */
export function refuseRequest(response: HttpResponse, thrown: unknown): void {
  const error = toProtocolError(thrown)
  sendProblem(response, error, [egressHeader, error.code])
}

/** The same where there is no response object; the socket is closed then. */
export function refuseSocket(socket: Duplex, thrown: unknown): void {
  const error = toProtocolError(thrown)
  const [statusLine, ...rest] = rawProblem(error).split('\r\n')
  const answer = [statusLine, `${egressHeader}: ${error.code}`, ...rest].join('\r\n')
  socket.end(answer, 'latin1', () => socket.destroy())
}

/** What went wrong on the way to a server, in the words of this room. */
export function toEgressError(thrown: unknown, where: string): ProtocolError {
  if (!isProtocolError(thrown)) return unreachable(where, thrown)
  switch (thrown.code) {
    case 'provider_unreachable':
      return unreachable(where, thrown.cause)
    case 'provider_answer_invalid':
      return new ProtocolError('egress_answer_invalid', `What ${where} answered is not HTTP.`, {
        hint: 'Tell whoever runs that server.',
        cause: thrown,
      })
    case 'call_timeout':
    case 'call_stalled':
      return tooSlow(where, thrown)
    case 'provider_busy':
      return busy(thrown.message)
    default:
      return thrown
  }
}

export function notAllowed(where: string): ProtocolError {
  return new ProtocolError('egress_not_allowed', `This deployment may not reach ${where}.`, {
    hint: 'Name its origin in limits.egress of khachapuri.json, and deploy again. "public" has ports 80 and 443.',
  })
}

export function blocked(hostname: string): ProtocolError {
  return new ProtocolError(
    'egress_address_blocked',
    `${hostname} leads to an address that is not on the public internet.`,
    { hint: 'Programs reach public servers only.' },
  )
}

export function unknownName(hostname: string, cause: Error): ProtocolError {
  return new ProtocolError('egress_name_unknown', `The name ${hostname} cannot be looked up.`, {
    hint: 'Check its spelling; if it is right, try again.',
    cause,
  })
}

export function tooSlow(where: string, cause?: unknown): ProtocolError {
  return new ProtocolError('egress_timeout', `${where} took too long to connect or to answer.`, {
    hint: 'Try again later.',
    cause,
  })
}

export function busy(message: string): ProtocolError {
  return new ProtocolError('egress_busy', message, { hint: 'Wait for some of them to end.' })
}

export function exhausted(resource: EgressResource): ProtocolError {
  return new ProtocolError('egress_exhausted', describeBreach(resource), {
    hint: 'Fetch less in one call.',
  })
}

function unreachable(where: string, cause: unknown): ProtocolError {
  const code = cause instanceof Error && 'code' in cause ? ` (${String(cause.code)})` : ''
  return new ProtocolError('egress_unreachable', `${where} cannot be reached${code}.`, {
    hint: 'Try again later.',
    cause,
  })
}
