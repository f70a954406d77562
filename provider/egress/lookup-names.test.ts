import { createSocket } from 'node:dgram'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { afterAll, expect, test } from 'vitest'
import { createEgressNetwork } from './egress-network.ts'
import { createDnsLookup } from './lookup-names.ts'

/** A real name server on this machine, of which each answer is taken from the list of its name; the last one stays. */
const zone = new Map<string, string[][]>()
const asked: string[] = []
const server = createSocket('udp4')
server.on('message', (query, { port }) => server.send(answer(query), port, '127.0.0.1'))
server.bind(0, '127.0.0.1')
await once(server, 'listening')
afterAll(() => server.close())

const resolver = new Resolver({ timeout: 500, tries: 1 })
resolver.setServers([`127.0.0.1:${server.address().port}`])
const lookup = createDnsLookup(resolver)

const look = (hostname: string) =>
  new Promise<string[] | string>((resolve) =>
    lookup(hostname, (error, addresses) =>
      resolve(
        error ? String((error as NodeJS.ErrnoException).code) : addresses.map(({ address }) => address),
      ),
    ),
  )

test('all addresses of a name are found, of both families, each time anew', async () => {
  zone.set('both.example A', [['93.184.216.34', '1.1.1.1']])
  zone.set('both.example AAAA', [['2606:4700:4700:0:0:0:0:1111']])
  expect(await look('both.example')).toEqual(['93.184.216.34', '1.1.1.1', '2606:4700:4700::1111'])
  zone.set('rebind.example A', [['93.184.216.34'], ['127.0.0.1']])
  expect(await look('rebind.example')).toEqual(['93.184.216.34'])
  expect(await look('rebind.example')).toEqual(['127.0.0.1'])
})

test('a name without addresses is an error, and one family is enough', async () => {
  zone.set('six.example AAAA', [['2606:4700:4700:0:0:0:0:1001']])
  expect(await look('six.example')).toEqual(['2606:4700:4700::1001'])
  expect(await look('none.example')).toBe('ENOTFOUND')
})

test('no search domain is tried, and names of this machine are not asked for', async () => {
  asked.length = 0
  expect(await look('intranet')).toBe('ENOTFOUND')
  expect(new Set(asked)).toEqual(new Set(['intranet A', 'intranet AAAA']))
  asked.length = 0
  for (const name of ['localhost', 'LOCALHOST'.toLowerCase(), 'x.localhost', 'localhost.']) {
    expect(await look(name)).toEqual(['127.0.0.1'])
  }
  expect(asked).toEqual([])
})

test('a machine’s own network is open to programs on development chains only', () => {
  expect(createEgressNetwork({ chainId: 31_337, allowPrivate: true }).allowPrivate).toBe(true)
  expect(createEgressNetwork({ chainId: 8_453, allowPrivate: false }).allowPrivate).toBe(false)
  expect(() => createEgressNetwork({ chainId: 8_453, allowPrivate: true })).toThrow(
    expect.objectContaining({ code: 'config_invalid' }),
  )
})

/** RFC 1035, as far as one question with answers of type A or AAAA goes. */
function answer(query: Buffer): Buffer {
  const labels: string[] = []
  let at = 12
  for (let size = query[at]!; size > 0; size = query[at]!) {
    labels.push(query.toString('latin1', at + 1, at + 1 + size))
    at += 1 + size
  }
  const question = query.subarray(12, at + 5)
  const isV6 = query.readUInt16BE(at + 1) === 28
  const key = `${labels.join('.')} ${isV6 ? 'AAAA' : 'A'}`
  asked.push(key)
  const answers = zone.get(key)
  const addresses = (answers && answers.length > 1 ? answers.shift() : answers?.[0]) ?? []
  const isKnown = [...zone.keys()].some((known) => known.startsWith(`${labels.join('.')} `))
  const head = Buffer.alloc(12)
  query.copy(head, 0, 0, 2)
  head.writeUInt16BE(0x8180 | (isKnown ? 0 : 3), 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(addresses.length, 6)
  return Buffer.concat([head, question, ...addresses.map((address) => toRecord(address, isV6))])
}

function toRecord(address: string, isV6: boolean): Buffer {
  const data = isV6
    ? Buffer.from(
        address
          .split(':')
          .map((group) => group.padStart(4, '0'))
          .join(''),
        'hex',
      )
    : Buffer.from(address.split('.').map(Number))
  const head = Buffer.alloc(12)
  head.writeUInt16BE(0xc00c, 0)
  head.writeUInt16BE(isV6 ? 28 : 1, 2)
  head.writeUInt16BE(1, 4)
  head.writeUInt16BE(data.length, 10)
  return Buffer.concat([head, data])
}
