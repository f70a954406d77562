import type { Server, Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { parseProxyHeader } from './proxy-protocol.ts'

export interface ProxiedOptions {
  /** Whether this is the address of a balancer. */
  readonly isBalancer: (remoteAddress: string) => boolean
  /** How long a balancer may take to say whose a connection is. */
  readonly timeoutMs: number
}

/**
 * Has a server hear of connections of these balancers only once they have said whose they are, and take them for that one's:
 * `remoteAddress` of the socket says so. Whoever else connects is taken as it is. A balancer that says nothing of the kind is
 * cut off, as nobody could tell its bytes from a caller's.
 *
 * To be called when all listeners for `connection` are there.
 */
export function acceptProxied(server: Server, { isBalancer, timeoutMs }: ProxiedOptions): void {
  const listeners = server.listeners('connection') as ((this: Server, socket: Socket) => void)[]
  const accept = (socket: Socket) => {
    for (const listener of listeners) listener.call(server, socket)
  }
  server.removeAllListeners('connection')
  server.on('connection', (socket: Socket) => {
    if (isBalancer(socket.remoteAddress ?? '')) readHeader(socket, { accept, timeoutMs })
    else accept(socket)
  })
}

function readHeader(
  socket: Socket,
  { accept, timeoutMs }: { readonly accept: (socket: Socket) => void; readonly timeoutMs: number },
): void {
  let held: Buffer = Buffer.alloc(0)
  const giveUp = () => {
    stop()
    socket.destroy()
  }
  const late = setTimeout(giveUp, timeoutMs)
  const onReadable = () => {
    for (let chunk = socket.read() as Buffer | null; chunk; chunk = socket.read() as Buffer | null) {
      held = Buffer.concat([held, chunk])
      const header = parseProxyHeader(held)
      if (header.kind === 'more') continue
      if (header.kind === 'invalid') return giveUp()
      stop()
      if (header.address !== undefined) claimAddress(socket, header.address)
      if (held.length > header.bytes) socket.unshift(held.subarray(header.bytes))
      // Only then the stream knows that nobody waits for `readable` any more, and flows for the next one.
      process.nextTick(() => {
        if (!socket.destroyed) accept(socket)
      })
      return
    }
  }
  const stop = () => {
    clearTimeout(late)
    socket.off('readable', onReadable).off('end', giveUp).off('close', stop)
    // Whoever takes it over comes with a listener of its own.
    process.nextTick(() => socket.off('error', giveUp))
  }
  socket.on('readable', onReadable).on('end', giveUp).on('error', giveUp).on('close', stop)
}

function claimAddress(socket: Socket, remoteAddress: string): void {
  Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress, configurable: true })
}

/** Under TLS it is another socket that requests have; it is the same caller's. */
export function copyAddress(secure: TLSSocket): void {
  const { _parent: plain } = secure as { _parent?: Socket }
  if (plain && Object.hasOwn(plain, 'remoteAddress')) claimAddress(secure, plain.remoteAddress ?? '')
}
