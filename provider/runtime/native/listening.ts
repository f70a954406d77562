import { close, constants, fstatSync, openSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../protocol/base/clock.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { limits } from '../../../protocol/limits.ts'
import { connectProgram } from '../connect-program.ts'
import { inside } from '../sandbox/bubblewrap.ts'
import type { Cell } from '../sandbox/cell.ts'
import type { Handover } from '../sandbox/handover.ts'
import { createLateSocket } from '../sandbox/late-socket.ts'

/** Where a native server may listen: the socket that its variable `LISTEN_SOCKET` names, or `PORT` of its own 127.0.0.1. */
export const listenPath = `${inside.folder}/s`
export const listenPort = 8080

/** The way to a native server, which leads to it and nowhere else for as long as this is open. */
export interface ServerDoor extends Disposable {
  connect(): Duplex
}

/**
 * Waits until a native server can be connected to, at whichever place it chose. A Unix socket is opened without following
 * links and then only used by that descriptor: a program that puts a link in its place, to a socket of the host, gains
 * nothing.
 *
 * @returns undefined where `signal` aborts first
 */
export async function waitForServer(
  clock: Clock,
  { pid, handover }: Pick<Cell, 'pid' | 'handover'>,
  signal: AbortSignal,
): Promise<ServerDoor | undefined> {
  for (let pollMs = 1; !signal.aborted; pollMs = Math.min(2 * pollMs, limits.programReadyPollMsMax)) {
    for (const door of [
      openSocket(clock, `/proc/${pid}/root${listenPath}`),
      handover && openPort(handover),
    ]) {
      if (door && (await canConnect(door, signal))) return door
      door?.[Symbol.dispose]()
    }
    await clock.sleep(pollMs, signal).catch(() => undefined)
  }
  return undefined
}

const openPort = ({ connect }: Handover): ServerDoor => ({ connect, [Symbol.dispose]: () => undefined })

/** Opens what stands at a path, if that is a socket. O_PATH is all that can be opened of one. */
function openSocket(clock: Clock, path: string): ServerDoor | undefined {
  let fd: number
  try {
    fd = openSync(path, linux.oPath | constants.O_NOFOLLOW)
  } catch {
    return undefined // It is not there yet.
  }
  if (!fstatSync(fd).isSocket()) {
    close(fd)
    return undefined
  }
  return { connect: () => connectInTurn(clock, `/proc/self/fd/${fd}`), [Symbol.dispose]: () => close(fd) }
}

/**
 * Connects to a Unix socket. Linux says at once where its queue is full, and not after a while as with a port: then again
 * a little later, for as long as somebody wants the connection.
 */
function connectInTurn(clock: Clock, path: string): Duplex {
  const outer = createLateSocket()
  const closed = new AbortController()
  outer.once('close', () => closed.abort())
  const attempt = (againMs: number): void => {
    const inner = connectProgram(path)
    const fail = (error: NodeJS.ErrnoException): void => {
      if (error.code !== 'EAGAIN') outer.destroy(error)
      else
        clock.sleep(againMs, closed.signal).then(
          () => attempt(Math.min(2 * againMs, limits.programConnectPollMsMax)),
          () => undefined,
        )
    }
    inner.once('error', fail).once('connect', () => {
      inner.off('error', fail)
      outer.attach(inner)
    })
  }
  attempt(1)
  return outer
}

/** Node has no name for it; on both architectures it is the same. */
const linux = { oPath: 0o10_000_000 } as const

/** A server that takes nobody, as one whose queue is full, lets whoever connects wait: until `signal` aborts. */
async function canConnect({ connect }: ServerDoor, signal: AbortSignal): Promise<boolean> {
  const socket = connect()
  const isConnected = new Promise<boolean>((resolve) => {
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
  })
  try {
    return await raceSignal(isConnected, signal)
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
