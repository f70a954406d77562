import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { openSwitch, type SwitchResponse } from './switch.ts'

/** A caller that has asked for a WebSocket, and the answer to it. */
async function handshake(lingerMs?: number) {
  const answering = Promise.withResolvers<SwitchResponse>()
  const gone = Promise.withResolvers<void>()
  const server = createServer().listen(0, '127.0.0.1')
  server.on('upgrade', (request: IncomingMessage, socket, head) => {
    socket.on('error', () => undefined).once('close', () => gone.resolve())
    answering.resolve(openSwitch(request, socket, head, lingerMs).response)
  })
  await once(server, 'listening')
  const caller = connect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    allowHalfOpen: true,
  })
  caller.write('GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n')
  return {
    caller,
    response: await answering.promise,
    gone: gone.promise,
    async [Symbol.asyncDispose]() {
      caller.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

test('a length is no part of an answer that switches, whoever says it', async () => {
  await using at = await handshake()
  at.response.writeHead(101, ['content-length', '5', 'Sec-WebSocket-Accept', 'x', 'Connection', 'keep-alive'])
  at.response.end('bytes of the other protocol')
  expect(await text(at.caller)).toBe(
    'HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nbytes of the other protocol',
  )
})

test('a caller that does not close when all has been said is cut off after a while', async () => {
  await using at = await handshake(20)
  at.caller.on('error', () => undefined).resume()
  at.response.writeHead(101, [])
  at.response.end()
  await once(at.caller, 'end')
  // It still could send, and never does.
  await at.gone
})
