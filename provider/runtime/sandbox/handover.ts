import type { ChildProcess } from 'node:child_process'
import type { Server, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { createLateSocket, type LateSocket } from './late-socket.ts'
import { handed, oneMore } from './launch-image.ts'

/**
 * Sockets of a sandbox's own network, made inside by the launcher and handed over: how this process, which is in another
 * network, listens and connects in there without a port of the host and without anybody who copies bytes. Nothing that the
 * program can write to leads here.
 */
export interface Handover extends Disposable {
  /**
   * What listens at the launch's `listenPort`. It accepts once somebody listens with it, and keeps the sandbox's network until
   * somebody closes it. @throws where the sandbox ends before
   */
  listener(): Promise<HandedListener>
  /** A connection to the launch's `connectPort`. It fails as a socket does that is refused. */
  connect(): Duplex
}

/** Node's own handle of a socket, which a server can listen with. */
export type HandedListener = Pick<Server, 'close'>

/** @param child - With an IPC channel, whose other end is the launcher's. */
export function createHandover(child: ChildProcess): Handover {
  const listening = Promise.withResolvers<HandedListener>()
  // Who has not asked does not want to know.
  listening.promise.catch(() => undefined)
  /** In the order in which they were asked for, which is that of the answers. */
  const waiting: LateSocket[] = []
  child.channel?.unref()
  child.on('message', (message, handle) => {
    if (message === handed.listener) listening.resolve(handle as Server)
    else if (message === handed.connection) waiting.shift()?.attach(handle as Socket)
    else if (message === handed.nothing) waiting.shift()?.destroy(refused())
  })
  child.once('disconnect', () => {
    listening.reject(refused())
    for (const socket of waiting.splice(0)) socket.destroy(refused())
  })

  return {
    listener: () => listening.promise,
    connect() {
      const socket = createLateSocket()
      if (!child.connected) return socket.destroy(refused())
      waiting.push(socket)
      child.send(oneMore, (error) => {
        if (error) socket.destroy(refused())
      })
      return socket
    },
    [Symbol.dispose]() {
      if (child.connected) child.disconnect()
    },
  }
}

function refused(): Error {
  return Object.assign(new Error('Nothing listens in the sandbox.'), { code: 'ECONNREFUSED' })
}
