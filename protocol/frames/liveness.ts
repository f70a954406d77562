import type { Clock } from '../base/clock.ts'
import { limits } from '../limits.ts'
import type { Mux } from './mux.ts'

/** Finds out whether the other end of a connection is still there: a half-open socket says nothing by itself. */
export interface Liveness {
  /** To be called about once a second. */
  check(): void
  /** Something happened after which the connection may be gone: an answer is wanted within two seconds. */
  suspect(): void
}

/**
 * Pings at once, so that windows know the round trip, and then every 20 s; two in a row without an answer are the end. While
 * a request is in flight nobody waits so long: after 5 s without a byte there is a ping, after 5 more the connection is
 * dead. Any byte counts as an answer to that, because a pong waits behind what a slow line still carries.
 *
 * @param onDead - Called once.
 */
export function createLiveness({
  mux,
  clock,
  onDead,
}: {
  mux: Pick<Mux, 'ping' | 'pingsUnanswered' | 'streams' | 'heardAtMs'>
  clock: Pick<Clock, 'monotonicMs'>
  onDead: () => void
}): Liveness {
  let nextPingMs = clock.monotonicMs()
  let probe: { readonly sentMs: number; readonly timeoutMs: number } | undefined
  let isDead = false

  const die = () => {
    isDead = true
    onDead()
  }

  const ask = (nowMs: number, timeoutMs: number) => {
    mux.ping()
    probe = { sentMs: nowMs, timeoutMs }
  }

  const pingInTurn = (nowMs: number) => {
    if (nowMs < nextPingMs) return
    if (mux.pingsUnanswered >= limits.tunnelPingsLostMax) die()
    else mux.ping()
    nextPingMs = nowMs + limits.tunnelPingIntervalMs
  }

  const liveness: Liveness = {
    check() {
      if (isDead) return
      const nowMs = clock.monotonicMs()
      if (probe && (mux.heardAtMs > probe.sentMs || mux.pingsUnanswered === 0)) probe = undefined
      if (probe && nowMs - probe.sentMs >= probe.timeoutMs) die()
      else if (!probe && mux.streams > 0 && nowMs - mux.heardAtMs >= limits.tunnelSilenceMs)
        ask(nowMs, limits.tunnelSilenceMs)
      else if (!probe) pingInTurn(nowMs)
    },
    suspect() {
      if (!isDead && !probe) ask(clock.monotonicMs(), limits.tunnelWakeTimeoutMs)
    },
  }
  liveness.check()
  return liveness
}
