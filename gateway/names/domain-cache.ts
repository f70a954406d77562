import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { type DomainRecord, domainRecordName, parseDomainRecords } from '../../protocol/ipfs/domain-record.ts'
import { limits } from '../../protocol/limits.ts'
import type { LookupTxt } from './lookup-txt.ts'

/** What is known of somebody else's domain. */
export type DomainAnswer =
  | { readonly kind: 'known'; readonly record: DomainRecord }
  /** Its owner says nothing of this network. */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'refused'; readonly error: ProtocolError }

/** Custom domains as their TXT records were last read: one look per domain and minute, however many ask. */
export interface DomainCache {
  /** The answer where there is one, at once; what is old is looked up again in the background. */
  peek(domain: string): DomainAnswer | undefined
  /** @throws `dns_unreachable` where nobody answers and nothing was known; `too_many_requests` */
  resolve(domain: string, signal: AbortSignal): Promise<DomainAnswer>
  /** The same, however fresh the last answer is. */
  refresh(domain: string, signal: AbortSignal): Promise<DomainAnswer>
}

interface Entry {
  readonly answer: DomainAnswer
  /** When it is looked up again, if anybody asks. */
  readonly refreshAtMs: number
  /** When it is too old to be given. */
  readonly endsAtMs: number
}

export function createDomainCache({
  clock,
  log,
  lookupTxt,
}: {
  clock: Clock
  log: Log
  lookupTxt: LookupTxt
}): DomainCache {
  // Apart, so that made-up domains cannot push real ones out.
  const pointed = createRecent<string, Entry>(limits.domainsCachedMax)
  const others = createRecent<string, Entry>(limits.domainsCachedMax)
  const looking = new Map<string, Promise<DomainAnswer>>()

  function look(domain: string): Promise<DomainAnswer> {
    const current = looking.get(domain)
    if (current) return current
    if (looking.size >= limits.domainLooksMax) return Promise.reject(tooMany())
    const next = lookOnce(domain).finally(() => looking.delete(domain))
    looking.set(domain, next)
    return next
  }

  async function lookOnce(domain: string): Promise<DomainAnswer> {
    let texts: readonly string[]
    try {
      texts = await lookupTxt(domainRecordName(domain))
    } catch (cause) {
      log.warn('domain_lookup_failed', { domain, error: String(cause) })
      const last = pointed.get(domain)
      if (last) return keep(domain, last.answer, limits.domainUnknownAgeMs)
      throw unreachable(domain, cause)
    }
    return keep(domain, readTexts(texts), limits.domainAgeMs)
  }

  function keep(domain: string, answer: DomainAnswer, ageMs: number): DomainAnswer {
    const nowMs = clock.monotonicMs()
    if (answer.kind === 'unknown') {
      pointed.delete(domain)
      const untilMs = nowMs + limits.domainUnknownAgeMs
      others.set(domain, { answer, refreshAtMs: untilMs, endsAtMs: untilMs })
    } else {
      others.delete(domain)
      pointed.set(domain, { answer, refreshAtMs: nowMs + ageMs, endsAtMs: nowMs + 10 * limits.domainAgeMs })
    }
    return answer
  }

  const peek = (domain: string): DomainAnswer | undefined => {
    const entry = pointed.get(domain) ?? others.get(domain)
    const nowMs = clock.monotonicMs()
    if (!entry || entry.endsAtMs <= nowMs) return undefined
    if (entry.refreshAtMs <= nowMs) look(domain).catch(() => undefined)
    return entry.answer
  }

  return {
    peek,
    resolve: async (domain, signal) => peek(domain) ?? raceSignal(look(domain), signal),
    refresh: (domain, signal) => raceSignal(look(domain), signal),
  }
}

function readTexts(texts: readonly string[]): DomainAnswer {
  try {
    const record = parseDomainRecords(texts)
    return record ? { kind: 'known', record } : { kind: 'unknown' }
  } catch (error) {
    if (isProtocolError(error)) return { kind: 'refused', error }
    throw error
  }
}

function unreachable(domain: string, cause: unknown): ProtocolError {
  return new ProtocolError('dns_unreachable', `The name servers of ${domain} do not answer.`, {
    hint: 'Send it again later.',
    cause,
  })
}

function tooMany(): ProtocolError {
  return new ProtocolError('too_many_requests', 'Too many domains are being looked up.', {
    hint: 'Send it again a little later.',
  })
}
