import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { lookupWithSystem } from '../../protocol/http/dial-checked.ts'
import { clusterHopHeader } from '../../protocol/http/headers.ts'
import type { UpstreamExchange, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { openRawOrigin } from '../../test/support/http-origin.ts'
import { verifyHopToken } from './hop-token.ts'
import { createHops } from './hops.ts'
import { createMembers } from './members.ts'

const provider = getAddress('0x00000000000000000000000000000000000000a1')
const secret = Buffer.alloc(32, 1)
const clock = createTestClock()
const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole'
const keyed = ['host', 'alice', 'Idempotency-Key', 'k']

/** Two homes of a provider, of which the first does with a request what the test wants. */
async function setup(first: ((socket: Socket) => void) | 'nobody') {
  await using starting = new AsyncDisposableStack()
  const asked: string[] = []
  const heads: string[] = []
  const open = async (name: string, onRequest: (socket: Socket) => void) => {
    const { url } = starting.use(
      await openRawOrigin((socket, bytes) => {
        asked.push(name)
        heads.push(bytes.toString('latin1'))
        onRequest(socket)
      }),
    )
    return url
  }
  const urls = [
    first === 'nobody' ? 'http://127.0.0.1:1' : await open('first', first),
    await open('second', (socket) => socket.write(answer)),
  ]
  const members = createMembers({ clock, log: createTestLog() })
  for (const [index, hopUrl] of urls.entries()) {
    members.hear(`gw${index}`, { hopUrl, tunnel: 'ws://localhost/_/tunnel' }, { isNew: true })
    members.route(provider, `gw${index}`, true)
  }
  const hops = starting.use(
    createHops({ clock, members, secret, lookup: lookupWithSystem, mayHop: () => true }),
  )
  const upstream = hops.upstreamFor(provider)
  const stack = starting.move()
  const send = (request: Partial<UpstreamRequest>, onHead: (exchange: UpstreamExchange) => void = () => {}) =>
    new Promise<string>((resolve) => {
      const parts: string[] = []
      const exchange = upstream?.send(
        { method: 'POST', target: '/x', rawHeaders: ['host', 'alice'], ...request },
        {
          onHead: () => exchange && onHead(exchange),
          onData: (chunk) => void parts.push(chunk.toString('latin1')),
          onEnd: () => resolve(parts.join('')),
          onError: (error, isUntaken) => resolve(`${parts.join('')} ${error.code} ${isUntaken ?? false}`),
        },
      )
    })
  return { asked, heads, members, send, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

const dies = (socket: Socket) => void socket.destroy()
const beginsAndDies = (socket: Socket) =>
  void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nha', () => socket.destroy())

test('where one home is not there, the next one gets the request, and the first counts for nothing until it is heard of', async () => {
  await using at = await setup('nobody')
  expect(await at.send({})).toBe('whole')
  expect([at.asked, at.members.homesOf(provider).map(({ nodeId }) => nodeId)]).toEqual([['second'], ['gw1']])
})

test('a request that a home had goes to no other, unless its caller made that safe', async () => {
  await using at = await setup(dies)
  expect(await at.send({})).toBe(' provider_unreachable false')
  expect(at.asked).toEqual(['first'])
  await using safe = await setup(dies)
  expect(await safe.send({ rawHeaders: keyed })).toBe('whole')
  expect(safe.asked).toEqual(['first', 'second'])
  // Each home is shown a proof of its own, for this provider and request.
  for (const head of safe.heads) {
    const [, token = ''] = new RegExp(`^${clusterHopHeader}: (.*)\r$`, 'm').exec(head) ?? []
    expect(verifyHopToken(secret, { token, method: 'POST', target: '/x' }, clock.nowMs())).toBe(provider)
  }
})

test('after a part of the answer, or of a body that was read, nothing is sent again', async () => {
  await using begun = await setup(beginsAndDies)
  expect(await begun.send({ rawHeaders: keyed })).toBe('ha provider_unreachable false')
  expect(begun.asked).toEqual(['first'])
  await using read = await setup(dies)
  expect(await read.send({ rawHeaders: keyed, body: Readable.from([Buffer.from('body')]) })).toBe(
    ' provider_unreachable false',
  )
  expect(new Set(read.asked)).toEqual(new Set(['first']))
  await using whole = await setup(dies)
  expect(await whole.send({ rawHeaders: keyed, body: Buffer.from('body') })).toBe('whole')
})
