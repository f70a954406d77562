import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { KiB } from '../base/bytes.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { MuxTransport } from './mux.ts'

/** Options that both ends of a tunnel give to their WebSocket. */
export const tunnelSocketOptions = {
  /** Costs 15 to 36 times the CPU, and leaks lengths. */
  perMessageDeflate: false,
  maxPayload: limits.tunnelMessageBytesMax,
  /** The tunnel has pings of its own; ws would queue an answer to each one for a peer that does not read. */
  autoPong: false,
} as const

/**
 * Frames as binary messages. A small batch becomes one message; of a large one the bulk is sent uncopied.
 *
 * @param socket - What the WebSocket runs on, to write several messages in one system call.
 */
export const createWebSocketTransport = (webSocket: WebSocket, socket: Duplex): MuxTransport =>
  new WebSocketTransport(webSocket, socket)

const binary = { binary: true, compress: false } as const

class WebSocketTransport implements MuxTransport {
  readonly #webSocket: WebSocket
  readonly #socket: Duplex

  constructor(webSocket: WebSocket, socket: Duplex) {
    this.#webSocket = webSocket
    this.#socket = socket
  }

  send(parts: readonly Buffer[], bytes: number, onSent: () => void): void {
    const webSocket = this.#webSocket
    if (webSocket.readyState !== webSocket.OPEN) return
    if (bytes <= copiedBytesMax || parts.length === 1) {
      const message = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts as Buffer[], bytes)
      webSocket.send(message, binary, onSent)
      return
    }
    this.#socket.cork()
    for (const message of joinSmall(parts)) webSocket.send(message, binary, onSent)
    this.#socket.uncork()
  }

  bufferedBytes(): number {
    return this.#webSocket.bufferedAmount
  }

  destroy(): void {
    this.#webSocket.terminate()
  }
}

const copiedBytesMax = 16 * KiB
const smallBytesMax = 4 * KiB

/** Headers and small parts in one buffer, large ones as they are. */
function* joinSmall(parts: readonly Buffer[]): Generator<Buffer> {
  let small: Buffer[] = []
  for (const part of parts) {
    if (part.length < smallBytesMax) {
      small.push(part)
      continue
    }
    if (small.length > 0) yield Buffer.concat(small)
    small = []
    yield part
  }
  if (small.length > 0) yield Buffer.concat(small)
}

/** Text messages one after the other, and then the binary ones for a mux. */
export interface HandshakeInbox {
  /**
   * The next message.
   *
   * @throws ProtocolError `tunnel_lost` when the connection goes, `bad_request` for what has no place in a handshake.
   */
  read(signal: AbortSignal): Promise<string>
  /** Ends the handshake: what came meanwhile and what comes next goes to `receive`; text ends the connection. */
  handOver(receive: (message: Buffer) => void): void
}

interface Waiter {
  readonly resolve: (text: string) => void
  readonly reject: (error: unknown) => void
}

/**
 * @param bytesMax - What may wait to be read. More than one message only where frames may follow the last message
 *   of the handshake at once: at the provider's end.
 */
export function createHandshakeInbox(webSocket: WebSocket, bytesMax: number): HandshakeInbox {
  const messages: { bytes: Buffer; isBinary: boolean }[] = []
  let bytesWaiting = 0
  let waiter: Waiter | undefined
  let receive: ((message: Buffer) => void) | undefined
  let end: ProtocolError | undefined

  const settle = () => {
    const message = messages[0]
    if (!waiter || (!message && !end)) return
    const { resolve, reject } = waiter
    waiter = undefined
    if (!message) reject(end)
    else if (message.isBinary || message.bytes.length > limits.tunnelHandshakeBytesMax) reject(outOfPlace())
    else {
      messages.shift()
      bytesWaiting -= message.bytes.length
      resolve(message.bytes.toString('utf8'))
    }
  }

  webSocket.on('message', (data, isBinary) => {
    const bytes = data as Buffer
    if (receive) {
      if (isBinary) receive(bytes)
      else webSocket.terminate()
      return
    }
    bytesWaiting += bytes.length
    if (bytesWaiting > bytesMax) webSocket.terminate()
    else messages.push({ bytes, isBinary })
    settle()
  })
  webSocket.on('close', (code) => {
    end = closedInHandshake(code)
    settle()
  })

  return {
    read: (signal) =>
      new Promise((resolve, reject) => {
        signal.throwIfAborted()
        const abort = () => {
          waiter = undefined
          reject(signal.reason)
        }
        const done = () => signal.removeEventListener('abort', abort)
        signal.addEventListener('abort', abort, { once: true })
        waiter = {
          resolve: (text) => {
            done()
            resolve(text)
          },
          reject: (error) => {
            done()
            reject(error)
          },
        }
        settle()
      }),
    handOver(next) {
      receive = next
      for (const { bytes, isBinary } of messages.splice(0)) {
        if (isBinary) next(bytes)
        else webSocket.terminate()
      }
    },
  }
}

function outOfPlace(): ProtocolError {
  return new ProtocolError('bad_request', 'The other end of the tunnel sent bytes that are no handshake.', {
    hint: 'Use the same version at both ends.',
  })
}

function closedInHandshake(code: number): ProtocolError {
  return new ProtocolError('tunnel_lost', `The tunnel closed in the handshake (WebSocket code ${code}).`, {
    hint: 'It is tried again.',
  })
}
