import type { Socket } from 'node:net'
import { ProtocolError } from '../../protocol/errors.ts'
import { type DialOptions, type DialRefusals, dialChecked } from '../../protocol/http/dial-checked.ts'
import type { DirectOrigin } from './provider-url.ts'

/** Opens a connection to a provider, at an address that is checked when it is dialled. */
export function connectToProvider(origin: DirectOrigin, options: DialOptions): Socket {
  return dialChecked(origin, options, refusals)
}

const refusals: DialRefusals = {
  blocked: (hostname) =>
    new ProtocolError(
      'provider_address_blocked',
      `The name ${hostname} leads to an address that is no provider's.`,
      { hint: 'The provider has to register a public address, or to come in through a tunnel.' },
    ),
  tooSlow: (timeoutMs) =>
    new ProtocolError('provider_unreachable', `The provider took no connection within ${timeoutMs} ms.`, {
      hint: 'Send it again later, or call another provider.',
    }),
}
