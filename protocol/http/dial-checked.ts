import { type LookupAddress, lookup as systemLookup } from 'node:dns'
import { isIP, type LookupFunction, Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { limits } from '../limits.ts'
import { mayDial } from './address-rules.ts'
import { connectReader } from './connect-reader.ts'

/** Every address of a name. */
export type Lookup = (
  hostname: string,
  answer: (error: Error | null, addresses: readonly LookupAddress[]) => void,
) => void

/** As the machine's resolver gives them. */
export const lookupWithSystem: Lookup = (hostname, answer) =>
  systemLookup(hostname, { all: true, verbatim: true }, answer)

/** Where a stranger wants us to connect. */
export interface DialTarget {
  readonly isSecure: boolean
  /** A name, or an address without brackets. */
  readonly hostname: string
  readonly port: number
}

export interface DialOptions {
  readonly allowPrivate: boolean
  readonly lookup: Lookup
  readonly connectTimeoutMs?: number
  /** Certificates to trust beside the machine's own. */
  readonly ca?: string
}

/** What the socket fails with where the answer is no. */
export interface DialRefusals {
  /** For an address that must not be dialled, or a name that leads to one or to none. */
  blocked(hostname: string): Error
  tooSlow(timeoutMs: number): Error
  /** For a name that cannot be looked up; the resolver's own error by default. */
  unknown?(hostname: string, cause: Error): Error
}

/**
 * Opens a connection to a place that a stranger named. The addresses that its name has at this moment are checked, all of
 * them, and these very addresses are dialled: a name that changes its mind in between (DNS rebinding) gains nothing.
 */
export function dialChecked(target: DialTarget, options: DialOptions, refusals: DialRefusals): Socket {
  const { hostname, port, isSecure } = target
  // Node looks no address up, so the rules would never see it.
  if (isIP(hostname) !== 0 && !mayDial(hostname, options)) {
    return new Socket().destroy(refusals.blocked(hostname))
  }
  const place = { host: hostname, port, lookup: checkedLookup(options, refusals), noDelay: true }
  const socket = isSecure
    ? tlsConnect({
        ...place,
        ALPNProtocols: ['http/1.1'],
        ...(isIP(hostname) === 0 ? { servername: hostname } : {}),
        ...(options.ca === undefined ? {} : { ca: options.ca }),
      })
    : connectReader(place)
  const timeoutMs = options.connectTimeoutMs ?? limits.connectTimeoutMs
  const timer = setTimeout(() => socket.destroy(refusals.tooSlow(timeoutMs)), timeoutMs)
  socket.once(isSecure ? 'secureConnect' : 'connect', () => clearTimeout(timer))
  socket.once('close', () => clearTimeout(timer))
  return socket
}

function checkedLookup({ lookup, allowPrivate }: DialOptions, refusals: DialRefusals): LookupFunction {
  return (hostname, options, callback) =>
    lookup(hostname, (error, addresses) => {
      const isBlocked = addresses.some(({ address }) => !mayDial(address, { allowPrivate }))
      if (error) callback(refusals.unknown?.(hostname, error) ?? error, '', 0)
      else if (isBlocked || addresses.length === 0) callback(refusals.blocked(hostname), '', 0)
      else if (options.all) callback(null, [...addresses])
      else callback(null, addresses[0]!.address, addresses[0]!.family)
    })
}
