import type { LostAttempt } from '../protocol/frames/head.ts'
import { limits } from '../protocol/limits.ts'

/** A connection of this process, open or lost. */
export interface RememberedTunnel {
  readonly tunnelId: string
  /** The last request that was taken from it. */
  readonly lastPeerStreamId: number
  /** Ends it: nothing is taken from it any more when this returns. */
  cut(): void
}

/** Which requests this process took, so that one that comes again after a lost connection is not run twice. */
export interface TakenStreams {
  remember(tunnel: RememberedTunnel): void
  /**
   * Whether the request may have been taken then: by number, because requests are taken in order; and yes where the
   * connection is unknown here. A connection that the gateway holds for lost is cut first, lest the request still
   * come out of it.
   */
  mayHaveTaken(attempt: LostAttempt): boolean
}

export function createTakenStreams(): TakenStreams {
  const tunnels = new Map<string, RememberedTunnel>()
  return {
    remember(tunnel) {
      tunnels.set(tunnel.tunnelId, tunnel)
      const [oldest] = tunnels.keys()
      if (tunnels.size > limits.tunnelsRememberedMax && oldest !== undefined) tunnels.delete(oldest)
    },
    mayHaveTaken({ tunnelId, streamId }) {
      const tunnel = tunnels.get(tunnelId)
      if (!tunnel) return true
      tunnel.cut()
      return streamId <= tunnel.lastPeerStreamId
    },
  }
}
