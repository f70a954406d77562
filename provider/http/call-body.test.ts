import { Agent, createServer, type IncomingMessage, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, test } from 'vitest'
import { KiB, MiB } from '../../protocol/base/bytes.ts'
import { limits } from '../../protocol/limits.ts'
import { createBodyRoom, openBody, readWholeBody } from './call-body.ts'

/** A caller with one connection, and a program that takes one piece of a body and answers without the rest. */
async function setup() {
  const server = createServer((incoming, response) => {
    const body = openBody(incoming, () => response.destroy())
    response.once('finish', body.discardRest)
    if (!body.body) return response.end('answered')
    const stop = () => {
      incoming.off('data', stop).pause()
      response.end('answered')
    }
    return incoming.on('data', stop).resume()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  const { port } = server.address() as AddressInfo
  const send = (method: string, length: number) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request({ port, agent, method, headers: { 'content-length': length } }, resolve)
      outgoing.on('error', reject).end(Buffer.alloc(length))
    }).then(async (answer) => {
      for await (const _ of answer);
      return answer.statusCode
    })
  return {
    send,
    async [Symbol.asyncDispose]() {
      agent.destroy()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

test.each([1, 200, 900])('a connection carries its next call after %i KiB that nobody read', async (kib) => {
  await using caller = await setup()
  expect(await caller.send('POST', kib * KiB)).toBe(200)
  expect(await caller.send('GET', 0)).toBe(200)
})

test('a caller who sends on and on after its answer loses the connection', async () => {
  await using caller = await setup()
  const outcome = await caller.send('POST', limits.unreadBodyBytesMax + 20 * MiB).catch(() => 'cut off')
  expect(outcome).toBeOneOf([200, 'cut off'])
  expect(await caller.send('GET', 0)).toBe(200)
})

describe('bodies that are held whole', () => {
  /** Sends a body in two halves; the second waits for `finish`. */
  async function receive(bytes: number) {
    const { promise, resolve } = Promise.withResolvers<IncomingMessage>()
    const server = createServer((incoming) => resolve(incoming))
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
    const { port } = server.address() as AddressInfo
    const outgoing = request({ port, method: 'POST', headers: { 'content-length': bytes } })
    outgoing.on('error', () => undefined).write(Buffer.alloc(bytes / 2))
    return {
      incoming: await promise,
      finish: () => outgoing.end(Buffer.alloc(bytes / 2)),
      breakOff: () => outgoing.destroy(),
      async [Symbol.asyncDispose]() {
        outgoing.destroy()
        server.closeAllConnections()
        await new Promise((done) => server.close(done))
      },
    }
  }

  test('share one room, and give it back when their calls are over', async () => {
    const room = createBodyRoom(10)
    const read = async () => {
      await using caller = await receive(8)
      caller.finish()
      return await readWholeBody(caller.incoming, { bytesMax: 8, room })
    }
    const first = await read()
    await expect(read()).rejects.toMatchObject({ code: 'provider_busy' })
    first.release()
    expect((await read()).body).toEqual(Buffer.alloc(8))
  })

  test('give it back when their callers break off, which is nobody’s failure', async () => {
    const room = createBodyRoom(8)
    await using caller = await receive(8)
    const reading = readWholeBody(caller.incoming, { bytesMax: 8, room })
    caller.breakOff()
    await expect(reading).rejects.toMatchObject({ name: 'AbortError' })
    expect(() => room.take(8)).not.toThrow()
  })
})
