import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { formatLaneHead } from '../../protocol/frames/head.ts'
import type { Stream } from '../../protocol/frames/mux-stream.ts'
import { limits } from '../../protocol/limits.ts'
import { closeCodes, type TunnelSocket } from './tunnel-socket.ts'

/**
 * The connections of a provider that carry one large stream at a time, so that it stands in nobody's way. They are asked for
 * when there is something for them, and closed when there is nothing.
 */
export interface Lanes {
  readonly sockets: ReadonlySet<TunnelSocket>
  /** Takes a new connection into use. */
  join(socket: TunnelSocket): void
  leave(socket: TunnelSocket): void
  /** A stream has become large: it moves to a free connection of its process, now or when there is one. */
  offer(socket: TunnelSocket, stream: Stream): void
  /** A connection has nothing to carry any more. */
  noteIdle(socket: TunnelSocket): void
  /** To be called about once a second. */
  tidy(): void
}

interface Large {
  readonly socket: TunnelSocket
  readonly stream: Stream
}

export function createLanes({ clock }: { clock: Pick<Clock, 'monotonicMs'> }): Lanes {
  const sockets = new Set<TunnelSocket>()
  const idleSinceMs = new Map<TunnelSocket, number>()
  const waiting = new Map<Hex, Large[]>()
  const askedAtMs = new Map<Hex, number>()

  const ofProcess = (sessionKey: Hex) => [...sockets].filter((socket) => socket.sessionKey === sessionKey)

  const serve = (sessionKey: Hex): void => {
    const queue = (waiting.get(sessionKey) ?? []).filter(({ stream }) => stream.isMovable)
    const free = ofProcess(sessionKey).filter(({ isLeaving, mux }) => !isLeaving && mux.streams === 0)
    for (const lane of free) {
      const next = queue.shift()
      if (!next) break
      idleSinceMs.delete(lane)
      const head = formatLaneHead({ tunnelId: next.socket.tunnelId, streamId: next.stream.id })
      next.stream.moveTo((handler) => lane.mux.open(handler, head))
    }
    if (queue.length === 0) waiting.delete(sessionKey)
    else {
      waiting.set(sessionKey, queue)
      ask(sessionKey, queue)
    }
  }

  const ask = (sessionKey: Hex, [first]: readonly Large[]): void => {
    const nowMs = clock.monotonicMs()
    const agoMs = nowMs - (askedAtMs.get(sessionKey) ?? Number.NEGATIVE_INFINITY)
    if (agoMs < limits.tunnelLaneAskMs || ofProcess(sessionKey).length >= limits.tunnelLanesMax) return
    askedAtMs.set(sessionKey, nowMs)
    first?.socket.mux.more()
  }

  return {
    sockets,
    join(socket) {
      sockets.add(socket)
      idleSinceMs.set(socket, clock.monotonicMs())
      askedAtMs.delete(socket.sessionKey)
      serve(socket.sessionKey)
    },
    leave(socket) {
      sockets.delete(socket)
      idleSinceMs.delete(socket)
    },
    offer(socket, stream) {
      // What is on a lane has one.
      if (socket.purpose === 'lanes') return
      const queue = waiting.get(socket.sessionKey) ?? []
      waiting.set(socket.sessionKey, [...queue, { socket, stream }])
      serve(socket.sessionKey)
    },
    noteIdle(socket) {
      if (!sockets.has(socket)) return
      idleSinceMs.set(socket, clock.monotonicMs())
      serve(socket.sessionKey)
    },
    tidy() {
      const nowMs = clock.monotonicMs()
      for (const sessionKey of [...waiting.keys()]) serve(sessionKey)
      for (const [sessionKey, atMs] of askedAtMs)
        if (nowMs - atMs >= limits.tunnelLaneAskMs) askedAtMs.delete(sessionKey)
      for (const [socket, sinceMs] of idleSinceMs)
        if (nowMs - sinceMs >= limits.tunnelLaneIdleMs) socket.close(closeCodes.done, 'idle')
    },
  }
}
