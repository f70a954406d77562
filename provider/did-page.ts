import type { Address, LocalAccount } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import { createRecent } from '../protocol/base/recent.ts'
import { type DidFacts, signDidDocument } from '../protocol/did-document.ts'
import { limits } from '../protocol/limits.ts'
import type { Market } from '../protocol/typed-data.ts'

/** What is true now, whatever host asks. */
export type DidState = Omit<DidFacts, 'host' | 'url' | 'provider' | 'registry'>

/** The provider's DID document. */
export interface DidPage {
  /** @param host - By which it was asked; another one than the provider's own gets the document of the first of those. */
  read(host: string): Promise<object>
}

/**
 * Documents are signed with the account, which takes a millisecond, so only when something changed or an hour has passed. They are for
 * hosts that are the provider's own: nobody has it sign for a host of theirs by asking.
 *
 * @param hosts - The provider's own with their origins, at least one.
 */
export function createDidPage(
  {
    clock,
    state,
    hosts,
  }: {
    readonly clock: Clock
    readonly state: () => DidState | Promise<DidState>
    readonly hosts: () => readonly URL[]
  },
  { account, market, registry }: { account: LocalAccount; market: Market; registry: Address },
): DidPage {
  const signed = createRecent<string, { readonly untilMs: number; readonly document: Promise<object> }>(
    limits.didDocumentsKeptMax,
  )
  return {
    async read(host) {
      const own = hosts()
      const origin = own.find((one) => one.host === host.toLowerCase()) ?? own[0]
      if (!origin) throw new Error('The provider has no host.')
      const now = await state()
      const facts: DidFacts = {
        ...now,
        provider: account.address,
        registry,
        host: origin.host,
        url: origin.href,
      }
      const key = JSON.stringify({ ...facts, sealKeyDer: Buffer.from(facts.sealKeyDer).toString('base64') })
      const known = signed.get(key)
      if (known && known.untilMs > clock.monotonicMs()) return known.document
      const validBefore = Math.floor(clock.nowMs() / 1000) + limits.didValidSeconds
      const document = signDidDocument(facts, { account, market, validBefore })
      document.catch(() => signed.delete(key))
      signed.set(key, { untilMs: clock.monotonicMs() + limits.didResignMs, document })
      return document
    },
  }
}
