import { BlockList, isIP } from 'node:net'
import { z } from 'zod'
import { toPlainAddress } from '../../protocol/http/client-network.ts'
import { limits } from '../../protocol/limits.ts'

/** Addresses and networks, such as `10.0.0.0/8`. */
export interface AddressList {
  has(address: string): boolean
}

/** An address, or a network as address and prefix. */
export const networkSchema = z
  .string()
  .max(64)
  .refine((text) => parseNetwork(text) !== undefined, 'Expected an address or a network such as 10.0.0.0/8')

export const networkListSchema = z.array(networkSchema).max(limits.policyEntriesMax)

interface Network {
  readonly address: string
  readonly prefix: number
  readonly type: 'ipv4' | 'ipv6'
}

function parseNetwork(text: string): Network | undefined {
  const [, address = '', digits] = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address)
  if (version === 0) return undefined
  const bits = version === 4 ? 32 : 128
  const prefix = digits === undefined ? bits : Number(digits)
  return prefix <= bits ? { address, prefix, type: version === 4 ? 'ipv4' : 'ipv6' } : undefined
}

/** @param networks - As `networkSchema` takes them. */
export function createAddressList(networks: readonly string[]): AddressList {
  const list = new BlockList()
  for (const network of networks.map(parseNetwork)) {
    if (network) list.addSubnet(network.address, network.prefix, network.type)
  }
  const isEmpty = networks.length === 0
  return {
    has(address) {
      if (isEmpty) return false
      const plain = toPlainAddress(address)
      const version = isIP(plain)
      return version !== 0 && list.check(plain, version === 4 ? 'ipv4' : 'ipv6')
    },
  }
}

/** @returns undefined where there is none, so that nobody is asked */
export function isBalancerOf(networks: readonly string[] = []): ((address: string) => boolean) | undefined {
  return networks.length === 0 ? undefined : createAddressList(networks).has
}

/**
 * Whose request it is: the last address in `X-Forwarded-For` that is none of a trusted proxy's, as each of those has added
 * whom it saw. Whatever stands before that anybody can have written.
 *
 * @param forwardedFor - Joined, where it came in several lines.
 */
export function findClient(
  peer: string,
  { forwardedFor, trusted }: { readonly forwardedFor: string | undefined; readonly trusted: AddressList },
): string {
  if (forwardedFor === undefined || !trusted.has(peer)) return peer
  let client = peer
  for (const hop of forwardedFor.split(',').slice(-hopsMax).reverse()) {
    const address = toHopAddress(hop.trim())
    if (address === undefined) break
    client = address
    if (!trusted.has(address)) break
  }
  return client
}

/** More proxies than this in a row are none of anybody's. */
const hopsMax = 16

/** `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1` or `[2001:db8::1]:5`. */
function toHopAddress(hop: string): string | undefined {
  const address =
    /^\[([0-9a-fA-F:.]+)\](?::\d+)?$/.exec(hop)?.[1] ?? /^([0-9.]+)(?::\d+)?$/.exec(hop)?.[1] ?? hop
  return isIP(address) === 0 ? undefined : address
}
