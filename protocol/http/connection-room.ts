import type { Server, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { limits } from '../limits.ts'

/** Who of a listener's callers has asked for something. */
export interface ConnectionRoom {
  /** Something was asked over this connection: from now on it stays. */
  noteAsked(socket: Duplex): void
}

/**
 * Keeps room for callers: where a listener has as many connections as it takes, the next one has the place of whoever came
 * longest ago and never asked for anything. Those who say nothing, however many and from wherever, keep nobody out then, as
 * whoever wants something says so at once.
 */
export function keepRoom(server: Server, connectionsMax: number): ConnectionRoom {
  /** The longest there first. */
  const silent = new Set<Socket>()
  let connections = 0
  // What the kernel hands over before any of it has closed; beyond that Node takes none.
  server.maxConnections = connectionsMax + limits.listenerBacklogMax
  server.on('connection', (socket: Socket) => {
    if (socket.destroyed) return
    connections++
    silent.add(socket)
    socket.once('close', () => {
      silent.delete(socket)
      connections--
    })
    if (connections <= connectionsMax) return
    const [oldest = socket] = silent
    silent.delete(oldest)
    oldest.destroy()
  })
  return {
    noteAsked(socket) {
      // Under TLS it is another socket that requests have.
      const { _parent: plain } = socket as { _parent?: Socket | null }
      silent.delete(plain ?? (socket as Socket))
    },
  }
}
