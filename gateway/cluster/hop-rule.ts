import { isIP, Socket } from 'node:net'
import {
  type DialRefusals,
  type DialTarget,
  dialChecked,
  type Lookup,
} from '../../protocol/http/dial-checked.ts'
import { createAddressList } from '../limits/client-network.ts'

/** Whether another gateway may be at this IP address. */
export type MayHop = (address: string) => boolean

const loopback = createAddressList(['127.0.0.0/8', '::1'])

/**
 * Where a gateway hands requests over: in the networks that its operator named. Without any it is wherever something of ours
 * may be at all, but on this very machine only if the others are asked to come there, too: whoever can write into the store
 * must not lead callers to what listens for this machine alone.
 */
export function createHopRule({
  hopHost,
  hopNetworks = [],
}: {
  readonly hopHost: string
  readonly hopNetworks?: readonly string[]
}): MayHop {
  if (hopNetworks.length > 0) return createAddressList(hopNetworks).has
  const isOnlyHere = hopHost === 'localhost' || loopback.has(hopHost)
  return (address) => isOnlyHere || !loopback.has(address)
}

/** Connects to another gateway, at an address that the rule lets it be at. */
export function dialHop(
  target: DialTarget,
  { lookup, mayHop }: { readonly lookup: Lookup; readonly mayHop: MayHop },
  refusals: DialRefusals,
) {
  const checked: Lookup = (hostname, answer) =>
    lookup(hostname, (error, addresses) => {
      answer(error, addresses?.every(({ address }) => mayHop(address)) ? addresses : [])
    })
  if (isIP(target.hostname) !== 0 && !mayHop(target.hostname)) {
    return new Socket().destroy(refusals.blocked(target.hostname))
  }
  return dialChecked(target, { allowPrivate: true, lookup: checked }, refusals)
}
