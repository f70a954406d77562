import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'
import type { PemPair } from '../tls/dev-authority.ts'

/** What the first process said of domains of others, as a further one has it. */
export interface AskedCertificates {
  find(servername: string): Promise<PemPair | undefined>
  /** Takes in an answer. */
  hear(id: number, pair: PemPair | undefined): void
}

/**
 * Asks the first process for certificates, once a minute for each domain that has one: with each answer comes another object,
 * and a context is made for it.
 */
export function askCertificates(
  { clock }: { readonly clock: Clock },
  ask: (id: number, servername: string) => void,
): AskedCertificates {
  const heard = createRecent<string, { readonly pair: PemPair; readonly untilMs: number }>(
    limits.domainCertificatesCachedMax,
  )
  const waiting = new Map<number, (pair: PemPair | undefined) => void>()
  const asking = new Map<string, Promise<PemPair | undefined>>()
  let asked = 0

  async function askOnce(servername: string): Promise<PemPair | undefined> {
    const { promise, resolve } = Promise.withResolvers<PemPair | undefined>()
    const id = asked++
    waiting.set(id, resolve)
    ask(id, servername)
    const pair = await promise
    const before = heard.get(servername)?.pair
    if (!pair) heard.delete(servername)
    else {
      const isSame = before?.cert === pair.cert
      const untilMs = clock.monotonicMs() + limits.domainCertificateHeardMs
      heard.set(servername, { pair: isSame ? before : pair, untilMs })
    }
    return heard.get(servername)?.pair
  }

  return {
    find(servername) {
      const known = heard.get(servername)
      if (known && known.untilMs > clock.monotonicMs()) return Promise.resolve(known.pair)
      const current = asking.get(servername)
      if (current) return current
      const next = askOnce(servername).finally(() => asking.delete(servername))
      asking.set(servername, next)
      return next
    },
    hear(id, pair) {
      waiting.get(id)?.(pair)
      waiting.delete(id)
    },
  }
}
