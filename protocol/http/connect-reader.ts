import { connect, type NetConnectOpts, type Socket } from 'node:net'
import { KiB } from '../base/bytes.ts'

/**
 * Connects to a server whose answers are read as `data`, and in no other way. Node reads into a new buffer of 64 KiB each time,
 * cuts it to what came, and queues it: for a small answer more work than anything that is done with it. Here all such sockets
 * read into one buffer, and a listener gets a copy, its own to keep.
 */
export function connectReader(options: NetConnectOpts): Socket {
  const onRead = (bytes: number) => {
    const copy = Buffer.allocUnsafe(bytes)
    shared.copy(copy, 0, 0, bytes)
    socket.emit('data', copy)
    return true
  }
  const socket: Socket = connect({ ...options, onread: { buffer: shared, callback: onRead } })
  return socket
}

/** Nothing comes between the reading of a socket and its listeners, so one is enough for all. */
const shared = Buffer.allocUnsafeSlow(64 * KiB)
