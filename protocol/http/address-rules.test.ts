import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isPublicAddress, mayDial } from './address-rules.ts'

/** What each list is to hold, written out by the number: the code under test asks Node's `BlockList` instead. */
const special: readonly (readonly [string, (a: number, b: number, c: number, d: number) => boolean])[] = [
  ['this network', (a) => a === 0],
  ['private', (a, b) => a === 10 || (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168)],
  ['carriers’ own', (a, b) => a === 100 && b >= 64 && b < 128],
  ['loopback', (a) => a === 127],
  ['link-local', (a, b) => a === 169 && b === 254],
  ['of a cloud’s host', (a, b, c, d) => a === 168 && b === 63 && c === 129 && d === 16],
  ['for protocols', (a, b, c) => a === 192 && b === 0 && c === 0],
  [
    'for documents',
    (a, b, c) =>
      (a === 192 && b === 0 && c === 2) ||
      (a === 198 && b === 51 && c === 100) ||
      (a === 203 && b === 0 && c === 113),
  ],
  ['6to4 relays', (a, b, c) => a === 192 && b === 88 && c === 99],
  ['for benchmarks', (a, b) => a === 198 && (b === 18 || b === 19)],
  ['multicast and reserved', (a) => a >= 224],
]

type Octets = [number, number, number, number]
const octet = fc.nat(255)
/** Random addresses hit small networks rarely, so half of them begin like one. */
const octets: fc.Arbitrary<Octets> = fc.oneof(
  fc.tuple(octet, octet, octet, octet),
  fc
    .tuple(
      fc.constantFrom(
        '192.0.0',
        '192.0.2',
        '198.51.100',
        '203.0.113',
        '192.88.99',
        '168.63.129',
        '100.100.100',
      ),
      octet,
    )
    .map(([prefix, last]) => [...prefix.split('.').map(Number), last] as Octets),
  fc.tuple(fc.constantFrom(100, 169, 172, 192, 198), octet, octet, octet),
)

test('an IPv4 address is public where no list of special networks has it', () => {
  fc.assert(
    fc.property(octets, (parts) => {
      const isSpecial = special.some(([, holds]) => holds(...parts))
      expect(isPublicAddress(parts.join('.'))).toBe(!isSpecial)
    }),
    { numRuns: 5_000 },
  )
})

test('no IPv6 spelling of an IPv4 address is public: mapped, compatible, NAT64, 6to4, Teredo', () => {
  fc.assert(
    fc.property(octets, ([a, b, c, d]) => {
      const hex = (high: number, low: number) => ((high << 8) | low).toString(16)
      const [upper, lower] = [hex(a, b), hex(c, d)]
      for (const address of [
        `::ffff:${a}.${b}.${c}.${d}`,
        `::ffff:${upper}:${lower}`,
        `::${a}.${b}.${c}.${d}`,
        `64:ff9b::${upper}:${lower}`,
        `64:ff9b:1::${upper}:${lower}`,
        `2002:${upper}:${lower}::1`,
        `2001:0:${upper}:${lower}::1`,
      ]) {
        expect(isPublicAddress(address), address).toBe(false)
      }
    }),
  )
})

test('outside 2000::/3 nothing is public', () => {
  const group = fc.nat(0xffff)
  fc.assert(
    fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), (groups) => {
      const address = groups.map((value) => value.toString(16)).join(':')
      if (groups[0]! >> 13 !== 1) expect(isPublicAddress(address)).toBe(false)
    }),
  )
})

test('even in a network of one’s own, nobody dials link-local, metadata or multicast, in any spelling', () => {
  for (const address of [
    '169.254.169.254',
    '169.254.170.2',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '::169.254.169.254',
    '64:ff9b::169.254.169.254',
    '64:ff9b:1::a9fe:a9fe',
    '2002:a9fe:a9fe::1',
    '2001:0:a9fe:a9fe::1',
    'fe80::1',
    'fe80::1%lo',
    'fd00:ec2::254',
    'fd20:ce::254',
    '100.100.100.200',
    '168.63.129.16',
    '192.0.0.192',
    '224.0.0.1',
    '255.255.255.255',
    'ff02::1',
    '::',
    // A zone is an interface of this machine.
    'fd12::1%lo',
    'localhost',
    '',
    '127.0.0.1\u0000',
  ]) {
    expect(mayDial(address, { allowPrivate: true }), address).toBe(false)
    expect(mayDial(address, { allowPrivate: false }), address).toBe(false)
  }
  for (const address of [
    '127.0.0.1',
    '::1',
    '10.0.0.1',
    '192.168.1.1',
    'fd12::1',
    '::ffff:127.0.0.1',
    '8.8.8.8',
  ]) {
    expect(mayDial(address, { allowPrivate: true }), address).toBe(true)
  }
})
