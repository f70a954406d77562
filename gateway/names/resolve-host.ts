import { isIP } from 'node:net'
import { isProtocolError } from '../../protocol/errors.ts'
import { type Name, parseName } from '../../protocol/name.ts'

/** Whom a `Host` header means. */
export type HostMeaning =
  /** The gateway itself. */
  | { readonly kind: 'control' }
  | { readonly kind: 'provider'; readonly name: Name }
  /** Well-formed, but nothing that this gateway answers for. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed' }

const hostHeader = /^(?:([a-z0-9_.-]{1,253})|\[([0-9a-f:.]{2,45})\])(?::\d{1,5})?$/

/**
 * Reads a `Host` header. Ports are not compared: a gateway behind a port mapping does not know its own.
 *
 * @param domain - The gateway's own host, lower-case, without a port.
 */
export function resolveHost(header: string, domain: string): HostMeaning {
  const [, name, literal] = hostHeader.exec(header.toLowerCase()) ?? []
  if (literal !== undefined) return { kind: isIP(literal) === 6 ? 'control' : 'malformed' }
  if (name === undefined) return { kind: 'malformed' }
  const host = name.endsWith('.') ? name.slice(0, -1) : name
  if (host.endsWith(`.${domain}`)) return resolveLabel(host.slice(0, -domain.length - 1))
  return { kind: host === domain || isIP(host) === 4 ? 'control' : 'unknown' }
}

function resolveLabel(label: string): HostMeaning {
  if (label.includes('.')) return { kind: 'unknown' }
  try {
    return { kind: 'provider', name: parseName(label) }
  } catch (error) {
    if (isProtocolError(error)) return { kind: 'malformed' }
    throw error
  }
}

/** The host of a domain such as `localhost:8080`, as `resolveHost` wants it. */
export function domainHost(domain: string): string {
  return domain.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '')
}
