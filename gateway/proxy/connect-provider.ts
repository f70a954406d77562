import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction, connect as netConnect, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { DirectOrigin } from './provider-url.ts'
import { mayDial } from './safe-address.ts'

/** Every address of a name, as the machine's resolver gives them. */
export type Lookup = (
  hostname: string,
  answer: (error: Error | null, addresses: readonly LookupAddress[]) => void,
) => void

export const lookupWithSystem: Lookup = (hostname, answer) =>
  systemLookup(hostname, { all: true, verbatim: true }, answer)

export interface DialOptions {
  readonly allowPrivate: boolean
  readonly lookup: Lookup
  readonly connectTimeoutMs?: number
  /** Certificates to trust beside the machine's own. */
  readonly ca?: string
}

/**
 * Opens a connection to a provider. The addresses that its name has at this moment are checked, all of them, and these
 * very addresses are dialled: a name that changes its mind in between (DNS rebinding) gains nothing.
 */
export function connectToProvider(origin: DirectOrigin, options: DialOptions): Socket {
  const { hostname, port, isSecure } = origin
  const target = { host: hostname, port, lookup: checkedLookup(options), noDelay: true }
  const socket = isSecure
    ? tlsConnect({
        ...target,
        ALPNProtocols: ['http/1.1'],
        ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      })
    : netConnect(target)
  const timeoutMs = options.connectTimeoutMs ?? limits.connectTimeoutMs
  const timer = setTimeout(() => socket.destroy(tooSlow(timeoutMs)), timeoutMs)
  socket.once(isSecure ? 'secureConnect' : 'connect', () => clearTimeout(timer))
  socket.once('close', () => clearTimeout(timer))
  return socket
}

function checkedLookup({ lookup, allowPrivate }: DialOptions): LookupFunction {
  return (hostname, options, callback) =>
    lookup(hostname, (error, addresses) => {
      const blocked = addresses.find(({ address }) => !mayDial(address, { allowPrivate }))
      if (error) callback(error, '', 0)
      else if (blocked || addresses.length === 0) callback(blockedError(hostname), '', 0)
      else if (options.all) callback(null, [...addresses])
      else callback(null, addresses[0]!.address, addresses[0]!.family)
    })
}

function blockedError(hostname: string): ProtocolError {
  return new ProtocolError(
    'provider_address_blocked',
    `The name ${hostname} leads to an address that is no provider's.`,
    { hint: 'The provider has to register a public address, or to come in through a tunnel.' },
  )
}

function tooSlow(timeoutMs: number): ProtocolError {
  return new ProtocolError(
    'provider_unreachable',
    `The provider took no connection within ${timeoutMs} ms.`,
    {
      hint: 'Send it again later, or call another provider.',
    },
  )
}
