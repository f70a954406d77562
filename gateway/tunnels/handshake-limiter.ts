import type { Clock } from '../../protocol/base/clock.ts'
import { clientNetwork } from '../../protocol/http/client-network.ts'
import { limits } from '../../protocol/limits.ts'

/** Bounds handshakes before anything is paid for them. */
export interface HandshakeLimiter {
  /** @param client - Its address. @returns false where it, or everybody together, has tried too often. */
  tryBegin(client: string): boolean
  /** A handshake that began is over, in whatever way. @param client - As it began. */
  end(client: string): void
}

/** Counts per address within fixed windows; IPv6 hosts own a /64, so that is what counts as one address. */
export function createHandshakeLimiter({ clock }: { clock: Clock }): HandshakeLimiter {
  let counts = new Map<string, number>()
  let windowStartMs = clock.monotonicMs()
  /** Handshakes under way, by address: a few addresses that say nothing must not keep all others out. */
  const pendingBy = new Map<string, number>()
  let pending = 0

  return {
    tryBegin(client) {
      const nowMs = clock.monotonicMs()
      if (nowMs - windowStartMs >= limits.tunnelHandshakeWindowMs) {
        counts = new Map()
        windowStartMs = nowMs
      }
      const key = clientNetwork(client)
      const ownPending = pendingBy.get(key) ?? 0
      if (ownPending >= limits.tunnelHandshakesPendingPerAddressMax) return false
      const count = (counts.get(key) ?? 0) + 1
      if (count > limits.tunnelHandshakesPerAddressMax || pending >= limits.tunnelHandshakesMax) return false
      if (!counts.has(key) && counts.size >= limits.tunnelsMax) return false
      counts.set(key, count)
      pendingBy.set(key, ownPending + 1)
      pending++
      return true
    },
    end(client) {
      const key = clientNetwork(client)
      const left = (pendingBy.get(key) ?? 1) - 1
      if (left > 0) pendingBy.set(key, left)
      else pendingBy.delete(key)
      pending--
    },
  }
}
