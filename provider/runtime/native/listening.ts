import { close, constants, fstatSync, openSync } from 'node:fs'
import { createConnection } from 'node:net'
import type { Clock } from '../../../protocol/base/clock.ts'
import { limits } from '../../../protocol/limits.ts'
import { inside } from '../sandbox/bubblewrap.ts'
import type { Cell } from '../sandbox/cell.ts'

/** Where a native server is to listen, as its variable `LISTEN_SOCKET` says. */
export const listenPath = `${inside.folder}/s`

/** The socket of a native server, as a path that leads to it and nowhere else for as long as this is open. */
export interface ServerSocket extends Disposable {
  readonly path: string
}

/**
 * Waits until a native server can be connected to. Its socket is opened without following links and then only used by
 * that descriptor: a program that puts a link in its place, to a socket of the host, gains nothing.
 *
 * @returns undefined where `signal` aborts first
 */
export async function waitForServer(
  clock: Clock,
  { pid }: Pick<Cell, 'pid'>,
  signal: AbortSignal,
): Promise<ServerSocket | undefined> {
  for (let pollMs = 1; !signal.aborted; pollMs = Math.min(2 * pollMs, limits.programReadyPollMsMax)) {
    const socket = openSocket(`/proc/${pid}/root${listenPath}`)
    if (socket && (await canConnect(socket.path))) return socket
    socket?.[Symbol.dispose]()
    await clock.sleep(pollMs, signal).catch(() => undefined)
  }
  return undefined
}

/** Opens what stands at a path, if that is a socket. O_PATH is all that can be opened of one. */
function openSocket(path: string): ServerSocket | undefined {
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
  return { path: `/proc/self/fd/${fd}`, [Symbol.dispose]: () => close(fd) }
}

/** Node has no name for it; on both architectures it is the same. */
const linux = { oPath: 0o10_000_000 } as const

function canConnect(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path)
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
}
