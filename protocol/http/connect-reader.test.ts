import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { KiB } from '../base/bytes.ts'
import { connectReader } from './connect-reader.ts'

/** A server that hands over its connections. */
async function openServer() {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.on('error', () => undefined)))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    async connect() {
      const connected = once(server, 'connection') as Promise<[Socket]>
      const near = connectReader({ port, host: '127.0.0.1' })
      const [far] = await connected
      const parts: Buffer[] = []
      near.on('data', (part: Buffer) => void parts.push(part))
      return { near, far, parts }
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test('what several sockets read at the same time stays what it was', async () => {
  await using server = await openServer()
  const pairs = [await server.connect(), await server.connect(), await server.connect()]
  const sent = pairs.map(() => randomBytes(300 * KiB))
  const ended = Promise.all(pairs.map(({ near }) => once(near, 'end')))
  for (const [index, { far }] of pairs.entries()) {
    for (let at = 0; at < 300 * KiB; at += 7 * KiB) far.write(sent[index]!.subarray(at, at + 7 * KiB))
    far.end()
  }
  await ended
  expect(pairs.map(({ parts }, index) => Buffer.concat(parts).equals(sent[index]!))).toEqual([
    true,
    true,
    true,
  ])
})

test('one that is paused reads nothing, and everything later', async () => {
  await using server = await openServer()
  const { near, far, parts } = await server.connect()
  far.write('first')
  await once(near, 'data')
  near.pause()
  const other = await server.connect()
  far.end('second')
  // By the time that this one has been there and back, the other's bytes have been here for long.
  other.far.write('ping')
  await once(other.near, 'data')
  expect(Buffer.concat(parts).toString()).toBe('first')
  near.resume()
  await once(near, 'end')
  expect(Buffer.concat(parts).toString()).toBe('firstsecond')
})

test('one that is reset says so', async () => {
  await using server = await openServer()
  const { near, far } = await server.connect()
  const failed = once(near, 'error')
  far.resetAndDestroy()
  expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
})
