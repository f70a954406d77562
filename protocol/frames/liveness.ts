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
export function createLiveness(deps: LivenessDeps): Liveness {
  const liveness = new Watch(deps)
  liveness.check()
  return liveness
}

export interface LivenessDeps {
  readonly mux: Pick<Mux, 'ping' | 'pingsUnanswered' | 'streams' | 'heardAtMs'>
  readonly clock: Pick<Clock, 'monotonicMs'>
  readonly onDead: () => void
}

class Watch implements Liveness {
  readonly #deps: LivenessDeps
  #nextPingMs: number
  #probe: { readonly sentMs: number; readonly timeoutMs: number } | undefined
  #isDead = false

  constructor(deps: LivenessDeps) {
    this.#deps = deps
    this.#nextPingMs = deps.clock.monotonicMs()
  }

  check(): void {
    if (this.#isDead) return
    const { mux, clock } = this.#deps
    const nowMs = clock.monotonicMs()
    if (this.#probe && (mux.heardAtMs > this.#probe.sentMs || mux.pingsUnanswered === 0))
      this.#probe = undefined
    const probe = this.#probe
    if (probe && nowMs - probe.sentMs >= probe.timeoutMs) this.#die()
    else if (!probe && mux.streams > 0 && nowMs - mux.heardAtMs >= limits.tunnelSilenceMs)
      this.#ask(nowMs, limits.tunnelSilenceMs)
    else if (!probe) this.#pingInTurn(nowMs)
  }

  suspect(): void {
    if (!this.#isDead && !this.#probe) this.#ask(this.#deps.clock.monotonicMs(), limits.tunnelWakeTimeoutMs)
  }

  #ask(nowMs: number, timeoutMs: number): void {
    this.#deps.mux.ping()
    this.#probe = { sentMs: nowMs, timeoutMs }
  }

  #pingInTurn(nowMs: number): void {
    if (nowMs < this.#nextPingMs) return
    if (this.#deps.mux.pingsUnanswered >= limits.tunnelPingsLostMax) this.#die()
    else this.#deps.mux.ping()
    this.#nextPingMs = nowMs + limits.tunnelPingIntervalMs
  }

  #die(): void {
    this.#isDead = true
    this.#deps.onDead()
  }
}
