import { BlockList, isIP } from 'node:net'

/** Everything in IPv4 that is not the public internet (IANA special-purpose registry), plus multicast and reserved. */
const specialIpv4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.0.2.0', 24],
  ['192.88.99.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['198.51.100.0', 24],
  ['203.0.113.0', 24],
  ['224.0.0.0', 4],
  ['240.0.0.0', 4],
]

/** Within 2000::/3, the only part of IPv6 that is public. Everything else, mapped and translated IPv4 too, is not. */
const specialIpv6: readonly (readonly [string, number])[] = [
  ['2001::', 23],
  ['2001:db8::', 32],
  ['2002::', 16],
  ['3fff::', 20],
]

const blocked = new BlockList()
for (const [address, prefix] of specialIpv4) blocked.addSubnet(address, prefix, 'ipv4')
for (const [address, prefix] of specialIpv6) blocked.addSubnet(address, prefix, 'ipv6')
const publicIpv6 = new BlockList()
publicIpv6.addSubnet('2000::', 3, 'ipv6')

/** What no provider can be at, in any network: link-local, where clouds give out a machine's keys, and multicast. */
const neverProviders: readonly (readonly [string, number, 'ipv4' | 'ipv6'])[] = [
  ['169.254.0.0', 16, 'ipv4'],
  ['100.100.100.200', 32, 'ipv4'],
  ['224.0.0.0', 3, 'ipv4'],
  ['fe80::', 10, 'ipv6'],
  ['fd00:ec2::254', 128, 'ipv6'],
  ['64:ff9b::a9fe:0', 112, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
]

const blockedEverywhere = new BlockList()
for (const [address, prefix, type] of neverProviders) blockedEverywhere.addSubnet(address, prefix, type)

/**
 * Whether a provider may be dialled at this IP address.
 *
 * @param allowPrivate - For a market on one machine or in one network: all but what `neverProviders` lists.
 */
export function mayDial(address: string, { allowPrivate }: { readonly allowPrivate: boolean }): boolean {
  if (!allowPrivate) return isPublicAddress(address)
  const version = isIP(address)
  return version !== 0 && !blockedEverywhere.check(address, version === 4 ? 'ipv4' : 'ipv6')
}

/** Whether an IP address is on the public internet, so that dialling it gives a stranger no way into a network of ours. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !blocked.check(address, 'ipv4')
    case 6:
      return !address.includes('%') && publicIpv6.check(address, 'ipv6') && !blocked.check(address, 'ipv6')
    default:
      return false
  }
}
