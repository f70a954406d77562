import { isIP } from 'node:net'
import { isProtocolError } from '../../protocol/errors.ts'
import { type CID, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { anyProvider, type Name, parseName } from '../../protocol/name.ts'

/** Whom a `Host` header means. */
export type HostMeaning =
  /** The gateway itself. */
  | { readonly kind: 'control' }
  /** `<name>.<gateway>`: a provider's name, or a deployment's. */
  | { readonly kind: 'name'; readonly name: Name }
  /** `any.<gateway>/<cid>`: whoever serves the deployment. */
  | { readonly kind: 'any' }
  /** `<cid>.<provider>.<gateway>`, or `<cid>.any.<gateway>`: a deployment that has an origin of its own in browsers. */
  | { readonly kind: 'origin'; readonly cid: CID; readonly provider: Name | 'any' }
  /** Well-formed, and somebody else's domain: one that may have been pointed here. */
  | { readonly kind: 'foreign'; readonly host: string }
  /** Well-formed, but nothing that a gateway could answer for. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'malformed' }

const hostHeader = /^(?:([a-z0-9_.-]{1,253})|\[([0-9a-f:.]{2,45})\])(?::\d{1,5})?$/
const domainLabel = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
/** A CID of version 1 over SHA-256, in the only base that survives a host: letters of one case. It has 59 characters. */
const cidLabel = /^b[a-z2-7]{58}$/

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
  if (host.endsWith(`.${domain}`)) return resolveLabels(host.slice(0, -domain.length - 1))
  if (host === domain || isIP(host) === 4) return { kind: 'control' }
  return isForeignDomain(host) ? { kind: 'foreign', host } : { kind: 'unknown' }
}

function resolveLabels(labels: string): HostMeaning {
  const dot = labels.indexOf('.')
  if (dot < 0) return labels === anyProvider ? { kind: 'any' } : resolveName(labels)
  const cid = cidOf(labels.slice(0, dot))
  const rest = labels.slice(dot + 1)
  if (!cid || rest.includes('.')) return { kind: 'unknown' }
  if (rest === anyProvider) return { kind: 'origin', cid, provider: anyProvider }
  const meaning = resolveName(rest)
  return meaning.kind === 'name' ? { kind: 'origin', cid, provider: meaning.name } : meaning
}

function resolveName(label: string): HostMeaning {
  try {
    return { kind: 'name', name: parseName(label) }
  } catch (error) {
    if (isProtocolError(error)) return { kind: 'malformed' }
    throw error
  }
}

function cidOf(label: string): CID | undefined {
  if (!cidLabel.test(label)) return undefined
  try {
    return parseContentCid(label)
  } catch (error) {
    if (isProtocolError(error)) return undefined
    throw error
  }
}

/**
 * Whether a host may be a custom domain: two labels or more (an IDN as punycode, the way browsers send it), no address
 * in another spelling, and nothing that is never found in the DNS (RFC 6761).
 */
function isForeignDomain(host: string): boolean {
  const labels = host.split('.')
  const [last = ''] = labels.slice(-1)
  return (
    labels.length >= 2 &&
    labels.every((label) => domainLabel.test(label)) &&
    !/^(?:\d+|0x[0-9a-f]*)$/.test(last) &&
    !['localhost', 'local', 'invalid', 'onion', 'arpa'].includes(last)
  )
}

/** The host of a domain such as `localhost:8080`, as `resolveHost` wants it. */
export function domainHost(domain: string): string {
  return domain.toLowerCase().replace(/:\d+$/, '').replace(/\.$/, '')
}
