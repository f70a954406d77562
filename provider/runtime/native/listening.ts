import { close, constants, fstatSync, openSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../protocol/base/clock.ts'
import { limits } from '../../../protocol/limits.ts'
import { connectProgram } from '../connect-program.ts'
import { inside } from '../sandbox/bubblewrap.ts'
import type { Cell } from '../sandbox/cell.ts'
import type { Handover } from '../sandbox/handover.ts'

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
    for (const door of [openSocket(`/proc/${pid}/root${listenPath}`), handover && openPort(handover)]) {
      if (door && (await canConnect(door))) return door
      door?.[Symbol.dispose]()
    }
    await clock.sleep(pollMs, signal).catch(() => undefined)
  }
  return undefined
}

const openPort = ({ connect }: Handover): ServerDoor => ({ connect, [Symbol.dispose]: () => undefined })

/** Opens what stands at a path, if that is a socket. O_PATH is all that can be opened of one. */
function openSocket(path: string): ServerDoor | undefined {
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
  return { connect: () => connectProgram(`/proc/self/fd/${fd}`), [Symbol.dispose]: () => close(fd) }
}

/** Node has no name for it; on both architectures it is the same. */
const linux = { oPath: 0o10_000_000 } as const

function canConnect({ connect }: ServerDoor): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect()
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}
