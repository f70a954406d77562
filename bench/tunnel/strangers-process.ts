import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { tunnelSubprotocol } from '../../protocol/tunnel.ts'

/** Who calls a gateway and means no good, or is broken. Nothing that happens to its connections ends it. */
export type StrangerKind = 'never read' | 'say nothing' | 'talk garbage' | 'dial tunnels'

export interface StrangersOrder {
  readonly kind: StrangerKind
  readonly port: number
  /** Of a provider that answers `/bytes/<n>` with as many bytes. */
  readonly host: string
}

/** Strangers of one kind, until the process ends; it says so when they begin to come. */
const { kind, port, host } = JSON.parse(process.argv[2] ?? '') as StrangersOrder

const strangers: Readonly<
  Record<StrangerKind, { readonly count: number; come(index: number): Promise<void> }>
> = {
  'never read': {
    count: 300,
    come: async (index) => {
      const socket = dial(index)
      socket.write(`GET /bytes/${2 ** 26} HTTP/1.1\r\nHost: ${host}\r\n\r\n`)
      socket.pause()
      await ended(socket)
    },
  },
  'say nothing': { count: 2_000, come: (index) => ended(dial(index)) },
  'talk garbage': {
    count: 8,
    come: async (index) => {
      const socket = dial(index)
      socket.resume().end(garbage[index % garbage.length]!)
      await Promise.all([ended(socket), pause()])
    },
  },
  'dial tunnels': {
    count: 8,
    come: (index) => Promise.all([offerTunnel(index), pause()]).then(() => undefined),
  },
}

/** What a gateway has to refuse, a connection each. */
const garbage = [
  `GET / HTTP/1.1\r\nHost: ${host}\r\nHost: other.localhost\r\n\r\n`,
  `POST / HTTP/1.1\r\nHost: ${host}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: ${host}\r\nX-Long: ${'x'.repeat(60_000)}\r\n\r\n`,
  '\u0000\u0001\u0002\u0003'.repeat(1_000),
]

/** From an address of its own, as strangers have. */
function dial(index: number): Socket {
  const localAddress = addressOf(index)
  return connect({ port, host: '127.0.0.1', localAddress }).on('error', () => undefined)
}

const addressOf = (index: number): string => `127.0.${1 + (index >> 7)}.${1 + (index & 127)}`

const ended = (socket: Socket): Promise<void> =>
  new Promise((resolve) => socket.once('close', () => resolve()))

/** A hundred a second, of eight at once. */
const pause = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 80))

/** Switches, and then says what is no offer. */
function offerTunnel(index: number): Promise<void> {
  return new Promise((resolve) => {
    request({
      port,
      host: '127.0.0.1',
      localAddress: addressOf(index),
      path: '/_/tunnel',
      headers: {
        host: `localhost:${port}`,
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
        'sec-websocket-protocol': tunnelSubprotocol,
      },
    })
      .on('upgrade', (_response, socket) => {
        socket
          .on('error', () => undefined)
          .on('close', resolve)
          .resume()
        socket.write(Buffer.from([0x82, 0x84, 0, 0, 0, 0, 1, 2, 3, 4]))
      })
      .on('response', (response) => response.resume().on('close', resolve))
      .on('error', () => resolve())
      .end()
  })
}

const { count, come } = strangers[kind]

async function comeAgain(index: number): Promise<void> {
  for (;;) await come(index)
}

for (let index = 0; index < count; index += 1) void comeAgain(index)
console.log(JSON.stringify({ count }))
