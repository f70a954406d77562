/** IPv4 that came over an IPv6 socket is IPv4; a zone says nothing about whose an address is. */
export function toPlainAddress(address: string): string {
  const mapped = /^::ffff:([0-9.]+)$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const zone = address.indexOf('%')
  return zone < 0 ? address : address.slice(0, zone)
}

/** What counts as one client: an IPv4 address, or the /64 that an IPv6 host has to itself. */
export function clientNetwork(address: string): string {
  const plain = toPlainAddress(address)
  if (!plain.includes(':')) return plain
  const [left = '', right = ''] = plain.split('::')
  const head = left.split(':').filter(Boolean)
  const tail = right.split(':').filter(Boolean)
  const zeros = Array.from({ length: Math.max(0, 8 - head.length - tail.length) }, () => '0')
  const groups = [...head, ...zeros, ...tail].slice(0, 4)
  return groups.map((group) => group.replace(/^0+(?=.)/, '').toLowerCase()).join(':')
}
