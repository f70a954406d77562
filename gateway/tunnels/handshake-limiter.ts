import type { Clock } from '../../protocol/base/clock.ts'
import { clientNetwork } from '../../protocol/http/client-network.ts'
import { limits } from '../../protocol/limits.ts'

/** Bounds handshakes before anything is paid for them. */
export interface HandshakeLimiter {
  /** @returns false where this address, or everybody together, has tried too often. */
  tryBegin(remoteAddress: string | undefined): boolean
  /** A handshake that began is over, in whatever way. */
  end(): void
}

/** Counts per address within fixed windows; IPv6 hosts own a /64, so that is what counts as one address. */
export function createHandshakeLimiter({ clock }: { clock: Clock }): HandshakeLimiter {
  let counts = new Map<string, number>()
  let windowStartMs = clock.monotonicMs()
  let pending = 0

  return {
    tryBegin(remoteAddress) {
      const nowMs = clock.monotonicMs()
      if (nowMs - windowStartMs >= limits.tunnelHandshakeWindowMs) {
        counts = new Map()
        windowStartMs = nowMs
      }
      const key = clientNetwork(remoteAddress ?? '')
      const count = (counts.get(key) ?? 0) + 1
      if (count > limits.tunnelHandshakesPerAddressMax || pending >= limits.tunnelHandshakesMax) return false
      if (!counts.has(key) && counts.size >= limits.tunnelsMax) return false
      counts.set(key, count)
      pending++
      return true
    },
    end() {
      pending--
    },
  }
}
