import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { beforeAll, expect, test } from 'vitest'
import { createTestAuthority } from '../../test/support/tls.ts'
import { limits } from '../limits.ts'
import { keepRoom } from './connection-room.ts'
import { listen } from './listen.ts'
import type { TlsIdentity } from './secure-server.ts'

const connectionsMax = 50
let tls: TlsIdentity
beforeAll(async () => {
  tls = { ...(await (await createTestAuthority()).sign('localhost')), ticketKeys: Buffer.alloc(48) }
})

async function setup(options: { readonly tls?: TlsIdentity } = {}) {
  const stack = new AsyncDisposableStack()
  let asked = 0
  const listener = stack.use(
    await listen({
      ...options,
      connectionsMax,
      onRequest: (message, response) => {
        asked++
        if (message.url !== '/wait') response.end('served')
      },
    }),
  )
  const open = new Set<Socket>()
  stack.defer(() => {
    for (const socket of open) socket.destroy()
  })
  const say = async (bytes: string) => {
    const socket = connect(listener.port, '127.0.0.1').on('error', () => undefined)
    open.add(socket)
    socket.once('close', () => open.delete(socket)).resume()
    await once(socket, 'connect')
    socket.write(bytes)
    return socket
  }
  const ask = async (agent?: Agent) => {
    const asked = request({ host: '127.0.0.1', port: listener.port, agent: agent ?? false })
    const [response] = await once(asked.end(), 'response')
    response.resume()
    await once(response, 'end')
    return response.statusCode
  }
  return { listener, open, say, ask, asked: () => asked, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

test('a burst that comes before any of it could be closed is bounded, too', () => {
  const server = createServer()
  keepRoom(server, connectionsMax)
  expect(server.maxConnections).toBe(connectionsMax + limits.listenerBacklogMax)
})

test('where nobody has room, whoever came longest ago and never asked goes, and each caller is served', async () => {
  await using at = await setup()
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  expect(await at.ask(agent)).toBe(200)
  const waiting = await at.say('GET /wait HTTP/1.1\r\nHost: a\r\n\r\n')
  await at.ask()
  const [first] = [await at.say('')]
  for (let n = 0; n < 4 * connectionsMax; n++) {
    await at.say(n % 2 === 0 ? '' : 'G')
    if (n % 40 === 0) expect(await at.ask()).toBe(200)
  }
  await expect.poll(() => at.listener.connections).toBeLessThanOrEqual(connectionsMax)
  expect(first?.destroyed).toBe(true)
  // Who has asked keeps its connection, whether it waits for an answer or may ask again.
  expect(waiting.destroyed).toBe(false)
  expect(await at.ask(agent)).toBe(200)
  agent.destroy()
})

test('where all have asked for something, the next one finds no room', async () => {
  await using at = await setup()
  const busy: Socket[] = []
  for (let n = 0; n < connectionsMax; n++) busy.push(await at.say('GET /wait HTTP/1.1\r\nHost: a\r\n\r\n'))
  await expect.poll(at.asked).toBe(connectionsMax)
  const late = await at.say('')
  await expect.poll(() => late.destroyed).toBe(true)
  expect(busy.filter(({ destroyed }) => destroyed)).toEqual([])
})

test('over TLS, too: who shook hands and said nothing goes first', async () => {
  await using at = await setup({ tls })
  const dial = async (ALPNProtocols: string[]) => {
    const socket = connectTls({ port: at.listener.port, rejectUnauthorized: false, ALPNProtocols })
    socket.on('error', () => undefined)
    at.open.add(socket)
    await once(socket, 'secureConnect')
    return socket
  }
  const asking = await dial(['http/1.1'])
  asking.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(asking, 'data')
  const h2 = await dial(['h2'])
  h2.resume()
  const silent = await dial(['http/1.1'])
  const gone = once(silent.resume(), 'close')
  for (let n = 0; n < connectionsMax; n++) await at.say('')
  await gone
  asking.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await once(asking, 'data')
  expect([asking.destroyed, h2.destroyed]).toEqual([false, false])
})
