import { BlockList, isIP } from 'node:net'

/** Everything in IPv4 that is not the public internet (IANA special-purpose registry), plus multicast and reserved. */
const specialIpv4: readonly (readonly [string, number])[] = [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  // Public by number, but inside Azure a machine's own host, which hands out its settings.
  ['168.63.129.16', 32],
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

/** What nothing of ours is at, in any network: link-local, where clouds give out a machine's keys, and multicast. */
const neverDialled: readonly (readonly [string, number, 'ipv4' | 'ipv6'])[] = [
  ['169.254.0.0', 16, 'ipv4'],
  ['168.63.129.16', 32, 'ipv4'],
  ['192.0.0.192', 32, 'ipv4'],
  ['100.100.100.200', 32, 'ipv4'],
  ['224.0.0.0', 3, 'ipv4'],
  ['fe80::', 10, 'ipv6'],
  ['fd00:ec2::254', 128, 'ipv6'],
  ['fd20:ce::254', 128, 'ipv6'],
  ['ff00::', 8, 'ipv6'],
  // IPv4 in another spelling: nobody needs these to reach a network of one's own.
  ['::', 128, 'ipv6'],
  ['::a9fe:0', 112, 'ipv6'],
  ['64:ff9b::', 96, 'ipv6'],
  ['64:ff9b:1::', 48, 'ipv6'],
  ['2001::', 32, 'ipv6'],
  ['2002::', 16, 'ipv6'],
]

const blockedEverywhere = new BlockList()
for (const [address, prefix, type] of neverDialled) blockedEverywhere.addSubnet(address, prefix, type)

/**
 * Whether this IP address, which a stranger chose, may be dialled: a provider's by a gateway, a server's for a program.
 *
 * @param allowPrivate - For a market on one machine or in one network: all but what `neverDialled` lists.
 */
export function mayDial(address: string, { allowPrivate }: { readonly allowPrivate: boolean }): boolean {
  if (!allowPrivate) return isPublicAddress(address)
  const version = isIP(address)
  return (
    version !== 0 &&
    !address.includes('%') &&
    !blockedEverywhere.check(address, version === 4 ? 'ipv4' : 'ipv6')
  )
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
