import { connect, isIP } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseProviderServer } from '../../gateway/proxy/provider-url.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { isPublicAddress } from '../../protocol/http/address-rules.ts'
import { createHttpPool } from '../../protocol/http/h1-client.ts'
import { accountOf, openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'

const hostileRecords = [
  '::garbage',
  '',
  'localhost:4000',
  'http://',
  'http://169.254.169.254',
  'http://169.254.169.254/latest/meta-data',
  'http://127.0.0.1',
  'http://2130706433/',
  'http://0x7f.1/',
  'http://0177.0.0.1',
  'http://127.1',
  'http://①②⑦.⓪.⓪.①',
  'http://[::1]',
  'http://[::ffff:127.0.0.1]',
  'http://[::ffff:7f00:1]',
  'http://[64:ff9b::7f00:1]',
  'http://[2002:7f00:1::]',
  'http://[fd00:ec2::254]',
  'http://[fe80::1]',
  'http://0.0.0.0',
  'http://[::]',
  'http://100.100.100.200',
  'http://10.0.0.1',
  'http://192.168.1.1:8080',
  'http://8.8.8.8:22',
  'http://8.8.8.8:6379x',
  'http://user:password@8.8.8.8',
  'https://8.8.8.8/path',
  'https://8.8.8.8/?query',
  'file:///etc/passwd',
  'gopher://8.8.8.8',
  'javascript:alert(1)',
  'unix:/var/run/docker.sock',
  `http://${'a'.repeat(600)}.example`,
  'http://a b.example',
  'http://8.8.8.8\r\nX: y',
]

test.each(hostileRecords)(
  'the record %j blocks that provider, and the gateway serves the others',
  async (record) => {
    await using provider = await openOrigin((_, response) => response.end('fine'))
    const lookup = () => expect.unreachable('nothing is looked up')
    await using front = await openGatewayFront(
      { mallory: record, alice: '' },
      { allowPrivate: false, lookup },
    )
    using tunnel = createHttpPool({ connect: () => connect(provider.port, '127.0.0.1'), connectionsMax: 1 })
    front.tunnels.set(accountOf('alice'), tunnel)
    expect(await front.ask('mallory.localhost')).toMatchObject({
      status: 502,
      code: 'provider_address_blocked',
    })
    expect((await front.ask('alice.localhost')).body.toString()).toBe('fine')
    expect(provider.requests()).toBe(1)
  },
)

test.each([
  'http://169.254.169.254',
  'http://[::ffff:169.254.169.254]',
  'http://[fe80::1]',
  'http://[fd00:ec2::254]',
  'http://[64:ff9b::a9fe:a9fe]',
  'http://100.100.100.200',
  'http://255.255.255.255:8080',
])('the record %j is blocked even where providers may be on this machine', async (record) => {
  await using provider = await openOrigin((_, response) => response.end('fine'))
  await using front = await openGatewayFront(
    { mallory: record, moira: 'http://metadata.example', alice: provider.url },
    {
      allowPrivate: true,
      lookup: (_, answer) =>
        answer(null, [{ address: new URL(record).hostname.replace(/[[\]]/g, ''), family: 0 }]),
    },
  )
  const blocked = { status: 502, code: 'provider_address_blocked' }
  expect(await front.ask('mallory.localhost')).toMatchObject(blocked)
  expect(await front.ask('moira.localhost')).toMatchObject(blocked)
  expect((await front.ask('alice.localhost')).body.toString()).toBe('fine')
})

const public4 = { address: '8.8.8.8', family: 4 }
const public6 = { address: '2606:4700:4700::1111', family: 6 }

test.each([
  ['this machine', [{ address: '127.0.0.1', family: 4 }]],
  ['this machine among others', [public4, { address: '127.0.0.1', family: 4 }]],
  ['this machine, mapped into IPv6', [public6, { address: '::ffff:127.0.0.1', family: 6 }]],
  ['nowhere', []],
])('a name that leads to %s is looked up once and never dialled', async (_, addresses) => {
  await using inside = await openOrigin((__, response) => response.end('inside'))
  let lookups = 0
  await using front = await openGatewayFront(
    { mallory: `http://rebind.example:${inside.port}` },
    {
      allowPrivate: false,
      lookup: (hostname, answer) => {
        expect(hostname).toBe('rebind.example')
        lookups++
        answer(null, addresses)
      },
    },
  )
  expect(await front.ask('mallory.localhost')).toMatchObject({ code: 'provider_address_blocked' })
  expect(lookups).toBe(1)
  expect(inside.requests()).toBe(0)
})

test('every connection is looked up again, and goes to the very address that was checked', async () => {
  await using provider = await openOrigin((_, response) =>
    response.setHeader('connection', 'close').end('dialled'),
  )
  let lookups = 0
  await using front = await openGatewayFront(
    { alice: `http://alice.example:${provider.port}` },
    {
      allowPrivate: true,
      lookup: (_, answer) => {
        lookups++
        answer(null, [{ address: '127.0.0.1', family: 4 }])
      },
    },
  )
  for (let i = 1; i <= 3; i++) {
    expect((await front.ask('alice.localhost')).body.toString()).toBe('dialled')
    expect(lookups).toBe(i)
  }
})

test('a name that cannot be looked up is a provider that cannot be reached', async () => {
  await using front = await openGatewayFront(
    { alice: 'http://gone.example' },
    { allowPrivate: false, lookup: (_, answer) => answer(new Error('ENOTFOUND'), []) },
  )
  expect(await front.ask('alice.localhost')).toMatchObject({ status: 502, code: 'provider_unreachable' })
})

test('any record gives a way to the provider or a refusal', () => {
  const parse = (record: string) => {
    try {
      return parseProviderServer(record, { allowPrivate: false })
    } catch (error) {
      if (isProtocolError(error)) return undefined
      throw error
    }
  }
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.webUrl(),
        fc.ipV4().map((ip) => `http://${ip}`),
      ),
      (record) => {
        const server = parse(record)
        if (server?.kind !== 'direct' || isIP(server.origin.hostname) === 0) return
        expect(isPublicAddress(server.origin.hostname)).toBe(true)
      },
    ),
    { numRuns: 2_000 },
  )
})

test('public addresses are public, and only they', () => {
  for (const address of ['8.8.8.8', '1.1.1.1', '2606:4700:4700::1111', '2a00:1450::1']) {
    expect(isPublicAddress(address)).toBe(true)
  }
  for (const address of [
    'fe80::1%eth0',
    '::ffff:8.8.8.8',
    '3fff::1',
    '2001:db8::1',
    '255.255.255.255',
    'x',
    '',
  ]) {
    expect(isPublicAddress(address)).toBe(false)
  }
})
