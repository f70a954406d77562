import { ProtocolError } from '../../protocol/errors.ts'
import type { ResetReason } from '../../protocol/frames/reset-code.ts'
import { limits } from '../../protocol/limits.ts'
import { tunnelSubprotocol } from '../../protocol/tunnel.ts'

export function tunnelLost(): ProtocolError {
  return new ProtocolError(
    'tunnel_lost',
    'The connection to the provider was lost while it had the request.',
    {
      hint: 'It may have run. Send it again with an Idempotency-Key, so that it runs and costs once.',
    },
  )
}

export function providerOffline(): ProtocolError {
  return new ProtocolError('provider_offline', 'The provider is not connected at the moment.', {
    hint: 'Try again in a few seconds, or call another provider.',
  })
}

export function providerBusy(): ProtocolError {
  return new ProtocolError('provider_busy', 'The provider takes no more requests at the moment.', {
    hint: 'Try again in a few seconds.',
  })
}

export function answerBroken(what: string): ProtocolError {
  return new ProtocolError('provider_answer_invalid', `The provider ${what}.`, {
    hint: 'Tell the provider, or call another one.',
  })
}

export function requestBroken(): ProtocolError {
  return new ProtocolError('bad_request', 'The body of the request ended before its end.', {
    hint: 'Send all of it.',
  })
}

export function answerTimedOut({ hasBegun }: { hasBegun: boolean }): ProtocolError {
  if (hasBegun) {
    return new ProtocolError('call_stalled', 'The answer stood still for too long.', {
      hint: 'Send it again.',
    })
  }
  return new ProtocolError('call_timeout', 'The provider said nothing for too long.', {
    hint: 'Send it again, or with less work in it.',
  })
}

/** What a stream that the provider broke off means to the caller. */
export function toStreamError(reason: ResetReason): ProtocolError {
  switch (reason) {
    case 'already_taken':
      return tunnelLost()
    case 'refused':
    case 'overloaded':
      return providerBusy()
    case 'head_invalid':
      return new ProtocolError('bad_request', 'The provider could not read the head of the request.', {
        hint: 'Send a plain HTTP request.',
      })
    default:
      return answerBroken('broke off its answer')
  }
}

export function tooMany(what: string): ProtocolError {
  return new ProtocolError('too_many_requests', `There are too many ${what}.`, { hint: 'Try again later.' })
}

export function handshakeTimedOut(): ProtocolError {
  return new ProtocolError(
    'call_timeout',
    `The handshake took more than ${limits.tunnelHandshakeTimeoutMs} ms.`,
    { hint: 'It is tried again.' },
  )
}

export function gatewayLeaves(): ProtocolError {
  return new ProtocolError('tunnel_lost', 'This gateway is about to stop.', { hint: 'It is tried again.' })
}

export function versionUnknown(): ProtocolError {
  return new ProtocolError('bad_request', `This is a tunnel; it speaks ${tunnelSubprotocol}.`, {
    hint: 'Connect with a tunnel client of the same version.',
  })
}
