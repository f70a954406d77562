import { type AnnouncedFacts, announcePath, formatAnnouncement } from '../protocol/announcement.ts'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { parseJson } from '../protocol/canonical-json.ts'
import { isProtocolError, ProtocolError, parseProblem } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import type { PresenceVoice } from '../protocol/presence-key.ts'
import { type AskDeps, askGateway } from '../tunnel-client/ask-gateway.ts'

export interface AnnouncerDeps extends AskDeps {
  readonly clock: Clock
  readonly log: Log
  readonly voice: PresenceVoice
  /** What is true now. */
  readonly facts: () => AnnouncedFacts
}

/**
 * Tells gateways every few seconds that the provider is there; disposal tells them that it goes, and waits for that for a
 * moment only.
 *
 * @param gateways - Origins, `http(s)://host`.
 */
export function createAnnouncer(deps: AnnouncerDeps, gateways: readonly URL[]): AsyncDisposable {
  const stop = new AbortController()
  const ears = gateways.map((gateway) => createEar(deps, gateway))
  const running = ears.map(({ keepTelling }) => keepTelling(stop.signal))
  return {
    async [Symbol.asyncDispose]() {
      stop.abort(new DOMException('The provider goes.', 'AbortError'))
      await Promise.all(running)
      await Promise.all(ears.map(({ tellGone }) => tellGone()))
    },
  }
}

/** One gateway that is told. */
function createEar(deps: AnnouncerDeps, gateway: URL) {
  const { clock, voice, facts } = deps
  const log = deps.log.with({ gateway: gateway.host })
  const url = new URL(announcePath, gateway)
  /** Numbers begin with the time, so that those of the next process are above these. */
  let sequence = 0
  let isHeard = false
  let isTold = false

  /** @throws ProtocolError with what the gateway said, or what kept it from answering */
  async function tell(state: 'up' | 'down', signal: AbortSignal): Promise<void> {
    const time = clock.nowMs()
    sequence = Math.max(sequence + 1, time)
    const json = await formatAnnouncement(voice, { ...facts(), gateway: gateway.host, state, time, sequence })
    const answer = await askGateway(deps, { url, json, bytesMax: limits.problemBytesMax }, signal)
    if (answer.status === 200) return
    const problem = parseProblem(parseJson(answer.body))
    if (!problem) throw new Error(`The gateway answers ${answer.status}.`)
    // This machine's clock was set back since, perhaps.
    const { sequence: known } = problem as { readonly sequence?: unknown }
    if (problem.code === 'announcement_replayed' && typeof known === 'number' && known < sequenceMax)
      sequence = Math.max(sequence, known)
    throw new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
  }

  return {
    async keepTelling(signal: AbortSignal): Promise<void> {
      while (!signal.aborted) {
        try {
          await tell('up', AbortSignal.any([signal, AbortSignal.timeout(limits.announceTimeoutMs)]))
          if (!isHeard) log.info('provider_announced')
          isHeard = true
          isTold = false
        } catch (error) {
          if (signal.aborted) return
          const code = isProtocolError(error) ? error.code : undefined
          if (!isTold) log.warn('provider_unannounced', { code, error: String(error) })
          isHeard = false
          isTold = true
        }
        const pauseMs = isHeard ? limits.announceIntervalMs : limits.announceRetryMs
        await clock.sleep(pauseMs, signal).catch(() => undefined)
      }
    },
    async tellGone(): Promise<void> {
      if (!isHeard) return
      await tell('down', AbortSignal.timeout(limits.announceGoneTimeoutMs)).catch((error) => {
        log.info('provider_gone_untold', { error: String(error) })
      })
    },
  }
}

/** A number of which there is no next one would silence a provider for good. */
const sequenceMax = 2 ** 47
