import { createHash } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import { encodeFrame, frameTypes } from '../../protocol/frames/codec.ts'
import type { OutgoingResponse, RequestListener } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { createPresentClock, setupTunnel, until } from '../support/tunnels.ts'

const chunk = Buffer.from(
  Array.from({ length: 64 * 1024 }, (_, index) => (index * 7 + (index >> 8) * 13) & 0xff),
)
const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const bodyOf = (mebibytes: number) => Buffer.concat(Array.from({ length: mebibytes * 16 }, () => chunk))

/** Answers `/<n>` with so many mebibytes, `POST` with the digest of what came. */
const serve: RequestListener = (request, response) => {
  if (request.method === 'POST') {
    const hash = createHash('sha256')
    request.on('data', (part) => hash.update(part))
    request.on('end', () => response.end(hash.digest('hex')))
  } else write(response, Number(request.url?.slice(1)) * 16)
}

function write(response: OutgoingResponse, chunks: number): void {
  let left = chunks
  const proceed = () => {
    while (left > 0) {
      left--
      if (!response.write(chunk)) return
    }
    response.end()
  }
  response.writeHead(200, ['content-length', String(chunks * chunk.length)])
  response.on('drain', proceed)
  proceed()
}

describe('a large body', () => {
  test.each(['down', 'up'])('goes on by a connection of its own, byte for byte: %s', async (direction) => {
    await using at = await setupTunnel(serve, { sockets: 1 })
    const body = bodyOf(12)
    const answer =
      direction === 'down'
        ? await fetch(`${at.gateway.url}/12`)
        : await fetch(at.gateway.url, { method: 'POST', body })
    const found = direction === 'down' ? digest(await answer.bytes()) : await answer.text()
    expect(found).toBe(digest(body))
    // The second connection came when it was wanted, is no place for requests, and had most of the body.
    expect([at.gateway.tunnelSockets.length, at.gateway.hub.connected().length]).toEqual([2, 1])
    const [, lane] = at.gateway.tunnelSockets
    const bytes = direction === 'down' ? lane?.bytesRead : lane?.bytesWritten
    expect(bytes).toBeGreaterThan(2 * MiB)
    await until(() => at.gateway.hub.connected().every(({ streams }) => streams === 0))
    expect(at.tunnel.status()).toMatchObject({ requests: 1 })
    expect(at.tunnel.status().sockets).toHaveLength(1)
  })

  test('small ones need none', async () => {
    await using at = await setupTunnel(serve, { sockets: 1 })
    for (let index = 0; index < 20; index++) await (await fetch(`${at.gateway.url}/0`)).bytes()
    expect(at.gateway.tunnelSockets).toHaveLength(1)
  })

  test('many at once share as many connections as there may be, and all are whole', async () => {
    await using at = await setupTunnel(serve, { sockets: 1 })
    const wanted = digest(bodyOf(12))
    const all = await Promise.all(
      Array.from({ length: 8 }, async () => digest(await (await fetch(`${at.gateway.url}/12`)).bytes())),
    )
    expect(all).toEqual(Array.from({ length: 8 }, () => wanted))
    expect(at.gateway.tunnelSockets.length - 1).toBeLessThanOrEqual(limits.tunnelLanesMax)
  })

  test('whose connection is lost is broken off, and the provider hears that it was nobody', async () => {
    const lost: (boolean | undefined)[] = []
    await using at = await setupTunnel(
      (_, response) => {
        response.on('close', () => lost.push(response.isWayLost))
        write(response, 1_000_000)
      },
      { sockets: 1 },
    )
    const answer = await fetch(at.gateway.url)
    const reader = answer.body!.getReader()
    let lane = at.gateway.tunnelSockets[1]
    while (!lane || lane.bytesRead < MiB) {
      await reader.read()
      lane = at.gateway.tunnelSockets[1]
    }
    lane.resetAndDestroy()
    await expect(
      (async () => {
        for (;;) if ((await reader.read()).done) return
      })(),
    ).rejects.toThrow()
    await until(() => lost.length === 1)
    expect(lost).toEqual([true])
    expect(at.tunnel.state).toBe('connected')
  })

  test('whose caller leaves is cancelled as ever', async () => {
    const lost: (boolean | undefined)[] = []
    await using at = await setupTunnel(
      (_, response) => {
        response.on('close', () => lost.push(response.isWayLost))
        write(response, 1_000_000)
      },
      { sockets: 1 },
    )
    const leave = new AbortController()
    const answer = await fetch(at.gateway.url, { signal: leave.signal })
    const reader = answer.body!.getReader()
    while ((at.gateway.tunnelSockets[1]?.bytesRead ?? 0) < MiB) await reader.read()
    leave.abort()
    await until(() => lost.length === 1)
    expect(lost).toEqual([false])
  })
})

test('a connection that has carried nothing for a minute is closed, and made again when it is wanted', async () => {
  const gatewayClock = createPresentClock()
  await using at = await setupTunnel(serve, { gatewayClock, sockets: 1 })
  const body = digest(bodyOf(12))
  expect(digest(await (await fetch(`${at.gateway.url}/12`)).bytes())).toBe(body)
  const lane = at.gateway.tunnelSockets[1]
  for (let elapsedMs = 0; elapsedMs <= limits.tunnelLaneIdleMs + 2_000; elapsedMs += 2_000) {
    await gatewayClock.advance(2_000)
    // A round trip, in which the pings of this time are answered.
    await (await fetch(`${at.gateway.url}/0`)).bytes()
  }
  await until(() => lane?.destroyed === true)
  expect(digest(await (await fetch(`${at.gateway.url}/12`)).bytes())).toBe(body)
  expect(at.gateway.tunnelSockets.length).toBeGreaterThan(2)
})

test('a gateway that always wants one more connection gets as many as there may be', async () => {
  await using at = await setupTunnel(serve, { sockets: 1 })
  const [socket] = at.gateway.tunnelSockets
  const frame = encodeFrame(frameTypes.more, 0)
  // As one more message of the gateway's end (RFC 6455 section 5.2): final, binary, not masked.
  const ask = () => socket?.write(Buffer.concat([Buffer.of(0x82, frame.length), frame]))
  while (at.gateway.tunnelSockets.length < 1 + limits.tunnelLanesMax) {
    ask()
    await fetch(`${at.gateway.url}/0`)
  }
  for (let n = 0; n < 20; n++) {
    ask()
    await fetch(`${at.gateway.url}/0`)
  }
  expect(at.gateway.tunnelSockets.length).toBe(1 + limits.tunnelLanesMax)
})

test('a WebSocket has a connection of its own from its beginning', async () => {
  await using at = await setupTunnel(
    (request, response) => {
      response.writeHead(101, [])
      request.pipe(response)
    },
    { sockets: 1 },
  )
  const body = new PassThrough()
  const seen: Buffer[] = []
  const ended = Promise.withResolvers<void>()
  at.gateway.hub.upstreamFor(at.account.address)?.send(
    { method: 'GET', target: '/', rawHeaders: [], switchesTo: 'websocket', body },
    {
      onHead: () => undefined,
      onData: (part) => void seen.push(part),
      onEnd: () => ended.resolve(),
      onError: ended.reject,
    },
  )
  body.write('first ')
  await until(() => at.gateway.tunnelSockets.length === 2 && seen.length > 0)
  const [, lane] = at.gateway.tunnelSockets
  // What is said from now on does not take the way of the requests.
  await until(() => (lane?.bytesWritten ?? 0) > 0)
  for (let index = 0; index < 64; index++) body.write(chunk)
  body.end(' last')
  await ended.promise
  const whole = Buffer.concat(seen)
  expect([whole.subarray(0, 6).toString(), whole.length]).toEqual(['first ', 11 + 64 * chunk.length])
  expect(lane?.bytesRead).toBeGreaterThan(2 * MiB)
})
