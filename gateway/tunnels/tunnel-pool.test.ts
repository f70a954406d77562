import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import type { MuxStream } from '../../protocol/frames/mux-stream.ts'
import { limits } from '../../protocol/limits.ts'
import { createMuxPair, createRecorder } from '../../test/support/mux-pair.ts'
import { createTunnelPool } from './tunnel-pool.ts'
import type { TunnelSocket } from './tunnel-socket.ts'

/** A pool, and sockets whose providers answer when a test says so. */
function setup() {
  const clock = createTestClock()
  let idle = 0
  const pool = createTunnelPool({ clock, onIdle: () => idle++ })
  const addSocket = (sessionKey: `0x${string}` = '0x01') => {
    const streams: MuxStream[] = []
    const heard: ReturnType<typeof createRecorder>[] = []
    const pair = createMuxPair({
      onStream(stream) {
        streams.push(stream)
        stream.accept()
        const recorder = createRecorder()
        heard.push(recorder)
        return recorder
      },
    })
    const socket: TunnelSocket & { isLeaving: boolean } = {
      tunnelId: '0'.repeat(32),
      provider: '0x0000000000000000000000000000000000000001',
      name: 'alice',
      sessionKey,
      purpose: 'requests',
      mux: pair.gateway,
      connectedAtMs: 0,
      isLeaving: false,
      checkLiveness: () => {},
      close: () => {},
    }
    pool.join(socket)
    return { socket, pair, streams, heard }
  }
  const call = () => {
    const said: string[] = []
    const exchange = pool.send(
      { method: 'GET', target: '/', rawHeaders: [] },
      {
        onHead: (status) => void said.push(String(status)),
        onData: (chunk) => void said.push(String(chunk)),
        onEnd: () => void said.push('end'),
        onError: ({ code }) => void said.push(code),
      },
    )
    return { said, exchange }
  }
  return { clock, pool, addSocket, call, idle: () => idle }
}

test('a request goes to the socket with the fewest in flight', async () => {
  const { addSocket, call } = setup()
  const [first, second] = [addSocket(), addSocket()]
  for (let index = 0; index < 6; index++) call()
  expect([first.socket.mux.streams, second.socket.mux.streams]).toEqual([3, 3])
  await second.pair.run()
  for (const stream of second.streams) stream.sendWhole('[200,[]]', Buffer.from('x'))
  await second.pair.run()
  expect([first.socket.mux.streams, second.socket.mux.streams]).toEqual([3, 0])
  for (let index = 0; index < 3; index++) call()
  expect([first.socket.mux.streams, second.socket.mux.streams]).toEqual([3, 3])
})

test('replicas of a provider share its calls, also those that come one by one', async () => {
  const { addSocket, call } = setup()
  const sockets = [addSocket('0x01'), addSocket('0x02'), addSocket('0x02')]
  for (let index = 0; index < 9; index++) {
    const { said } = call()
    for (const { pair, streams } of sockets) {
      await pair.run()
      streams.at(-1)?.sendWhole('[200,[]]', Buffer.from('x'))
      await pair.run()
    }
    expect(said.at(-1)).toBe('end')
  }
  expect(sockets.map(({ streams }) => streams.length)).toEqual([3, 3, 3])
})

test('a socket that leaves gets no more, and what waits goes to the next that comes', async () => {
  const { addSocket, call, pool } = setup()
  const first = addSocket()
  first.socket.isLeaving = true
  const { said } = call()
  expect([first.socket.mux.streams, said, pool.inFlight]).toEqual([0, [], 1])
  const second = addSocket()
  await second.pair.run()
  second.streams[0]?.sendWhole('[200,[]]', Buffer.from('x'))
  await second.pair.run()
  expect([said, pool.inFlight]).toEqual([['200', 'x', 'end'], 0])
})

test('sockets that are full make the provider busy, not the gateway wait', () => {
  const { addSocket, call } = setup()
  addSocket()
  for (let index = 0; index < limits.streamsPerTunnelMax; index++) call()
  expect(call().said).toEqual(['provider_busy'])
})

test('only so many requests wait for a socket', () => {
  const { call } = setup()
  for (let index = 0; index < limits.requestsWaitingPerUpstreamMax; index++) call()
  expect(call().said).toEqual(['provider_busy'])
})

test('a request that is given up while it waits is forgotten, and its handler hears nothing', async () => {
  const { call, pool, clock, idle } = setup()
  const { said, exchange } = call()
  exchange.abort()
  expect([pool.inFlight, idle()]).toEqual([0, 1])
  await clock.advance(limits.tunnelParkMsMax)
  expect(said).toEqual([])
})

test('a request that was not seen to be taken waits for the same process, whoever else is there', async () => {
  const { addSocket, call, pool, clock } = setup()
  const first = addSocket('0x01')
  const { said } = call()
  // The head leaves; the answering accept does not come back.
  first.pair.wires.toGateway.isStuck = true
  await first.pair.run()
  const stranger = addSocket('0x02')
  pool.leave(first.socket)
  await stranger.pair.run()
  expect([stranger.streams.length, said]).toEqual([0, []])
  await clock.advance(limits.tunnelParkMsMax)
  expect(said).toEqual(['tunnel_lost'])
})

test('an answer that stands still is given up: as its caller’s doing where that does not read, else as nobody’s', async () => {
  const { addSocket, call, pool, clock } = setup()
  const { pair, streams, heard } = addSocket()
  const [unread, awaited] = [call(), call()]
  await pair.run()
  for (const stream of streams) {
    stream.sendHead('[200,[]]')
    stream.write(Buffer.from('x'))
  }
  await pair.run()
  unread.exchange.pause()
  await clock.advance(limits.idleTimeoutMs + 1)
  pool.expire(clock.monotonicMs())
  await pair.run()
  expect([unread.said, awaited.said]).toEqual([
    ['200', 'x', 'call_stalled'],
    ['200', 'x', 'call_stalled'],
  ])
  expect(heard.map(({ reset }) => reset)).toEqual(['cancelled', 'timed_out'])
})

test('an answer that is not as it announced itself is given up, and not as its caller’s doing', async () => {
  const { addSocket, call } = setup()
  const { pair, streams, heard } = addSocket()
  const [longer, broken] = [call(), call()]
  await pair.run()
  streams[0]?.sendHead('[200,["content-length","1"]]')
  streams[0]?.write(Buffer.from('xy'))
  streams[1]?.sendHead('[200,["content-length","1","content-length","2"]]')
  await pair.run()
  expect([longer.said, broken.said]).toEqual([
    ['200', 'provider_answer_invalid'],
    ['provider_answer_invalid'],
  ])
  expect(heard.map(({ reset }) => reset)).toEqual(['answer_invalid', 'answer_invalid'])
})
