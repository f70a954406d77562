import fc from 'fast-check'
import { expect, test } from 'vitest'
import { clientNetwork } from '../../protocol/http/client-network.ts'
import { createAddressList, findClient, networkSchema } from './client-network.ts'

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
  ['2001:DB8:0001:2::1', '2001:db8:1:2'],
  ['2001:db8::1', '2001:db8:0:0'],
  ['fe80::1%eth0', 'fe80:0:0:0'],
  ['::1', '0:0:0:0'],
])('%s counts as %s', (address, network) => {
  expect(clientNetwork(address)).toBe(network)
})

test.each(['10.0.0.0/33', '::1/129', '10.0.0', 'a', '', '10.0.0.0/8/8', '1.2.3.4/'])(
  '%s is no network',
  (text) => {
    expect(networkSchema.safeParse(text).success).toBe(false)
  },
)

const trusted = createAddressList(['10.0.0.0/8', '2001:db8::/32', '127.0.0.1'])

test.each([
  ['nobody is trusted but who is named', '192.0.2.1', '198.51.100.9', '192.0.2.1'],
  ['a proxy says whom it saw', '10.0.0.1', '198.51.100.9', '198.51.100.9'],
  ['so does one over an IPv6 socket', '::ffff:10.0.0.1', '198.51.100.9', '198.51.100.9'],
  ['what the caller wrote itself comes before that', '10.0.0.1', '1.1.1.1, 198.51.100.9', '198.51.100.9'],
  [
    'proxies behind proxies are passed over',
    '10.0.0.1',
    '198.51.100.9, 10.0.0.2, 2001:db8::1',
    '198.51.100.9',
  ],
  ['ports are cut off', '10.0.0.1', '[2001:bd8::7]:443', '2001:bd8::7'],
  ['so are those of IPv4', '10.0.0.1', '198.51.100.9:1234', '198.51.100.9'],
  ['nonsense ends the search', '10.0.0.1', '198.51.100.9, unknown, 10.0.0.2', '10.0.0.2'],
  ['nobody looks past sixteen proxies', '10.0.0.1', `1.1.1.1${', 10.0.0.2'.repeat(16)}`, '10.0.0.2'],
  ['who sends nothing is itself', '10.0.0.1', undefined, '10.0.0.1'],
])('%s', (_, peer, forwardedFor, client) => {
  expect(findClient(peer, { forwardedFor, trusted })).toBe(client)
})

test('whatever a stranger writes into X-Forwarded-For, it is taken for itself', () => {
  fc.assert(
    fc.property(fc.string(), (forwardedFor) => {
      expect(findClient('192.0.2.1', { forwardedFor, trusted })).toBe('192.0.2.1')
      const behind = findClient('10.0.0.1', { forwardedFor: `${forwardedFor}, 192.0.2.1`, trusted })
      expect(behind).toBe('192.0.2.1')
    }),
  )
})
