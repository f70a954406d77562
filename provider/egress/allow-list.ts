import type { Egress } from '../../protocol/egress.ts'
import type { Destination } from './destination.ts'

/** Decides what a program may reach by what its deployment says. Addresses are looked at later, when they are dialled. */
export interface AllowList {
  /** A request to this origin. */
  mayRequest(destination: Destination): boolean
  /** A connection of which nobody but the program knows what is said on it. */
  mayConnect(place: Pick<Destination, 'hostname' | 'port'>): boolean
}

/** Origins are compared as a whole: no list has patterns, and a name allows none of its subdomains. */
export function createAllowList(egress: Egress): AllowList {
  if (egress === 'none') return { mayRequest: () => false, mayConnect: () => false }
  if (egress === 'public') {
    return { mayRequest: ({ port }) => webPorts.has(port), mayConnect: ({ port }) => webPorts.has(port) }
  }
  const origins = new Set(egress)
  const places = new Set(egress.map(placeOf))
  return {
    mayRequest: ({ origin }) => origins.has(origin),
    mayConnect: ({ hostname, port }) => places.has(`${hostname} ${port}`),
  }
}

const webPorts: ReadonlySet<number> = new Set([80, 443])

function placeOf(origin: string): string {
  const { protocol, hostname, port } = new URL(origin)
  const name = hostname.replace(/^\[|\]$/g, '')
  return `${name} ${port === '' ? (protocol === 'https:' ? 443 : 80) : port}`
}
