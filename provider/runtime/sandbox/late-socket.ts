import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { endByReading } from '../connect-program.ts'

/** A connection that somebody else makes. What is written before it is there waits. */
export interface LateSocket extends Duplex {
  /** Whether that has not been made yet: nothing of what was written has left. */
  readonly connecting: boolean
  /** Takes the connection over, once; emits `connect`. One that comes after `destroy` is closed. */
  attach(socket: Socket): void
}

export function createLateSocket(): LateSocket {
  let inner: Socket | undefined
  let whenThere: (() => void) | undefined
  const there = (act: () => void): void => {
    if (inner) act()
    else whenThere = act
  }
  const outer = new Duplex({
    allowHalfOpen: false,
    read: () => void inner?.resume(),
    write: (chunk, encoding, done) => there(() => inner?.write(chunk, encoding, done)),
    final: (done) => there(() => inner?.end(done)),
    destroy(error, done) {
      inner?.destroy()
      done(error)
    },
  })
  const attach = (socket: Socket): void => {
    if (outer.destroyed) {
      socket.on('error', () => undefined).destroy()
      return
    }
    inner = endByReading(socket)
    inner.setNoDelay()
    inner.on('data', (chunk) => {
      if (!outer.push(chunk)) inner?.pause()
    })
    inner.on('end', () => outer.push(null))
    inner.on('error', (error) => outer.destroy(error))
    inner.on('close', () => outer.destroy())
    outer.emit('connect')
    whenThere?.()
  }
  return Object.defineProperty(Object.assign(outer, { attach }), 'connecting', {
    get: () => !inner,
  }) as LateSocket
}
