import type { Address } from 'viem'
import { type Announcement, announcementInvalid, parseAnnouncement } from '../../protocol/announcement.ts'
import { utf8 } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name, ProviderName } from '../../protocol/name.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { createTokenBuckets } from '../limits/token-buckets.ts'
import type { NameAnswer, NameCache } from '../names/name-cache.ts'
import { createPresenceBook } from './presence-book.ts'

/** A provider that is there, as it says, and as the chain knows it. */
export interface LiveProvider {
  readonly announcement: Announcement
  readonly record: ProviderName
}

/** Which providers are there, by their own signed word, whether somebody has called them or not. */
export interface Presence {
  /**
   * Takes what a provider sent to this gateway.
   *
   * @throws ProtocolError `announcement_invalid`, `announcement_replayed`, `too_many_requests`, `chain_unreachable`
   */
  take(bytes: Uint8Array, signal: AbortSignal): Promise<void>
  /** Takes what another gateway of the cluster, or another process of this one, has taken. It is checked here, too. */
  hear(text: string, signal: AbortSignal): Promise<void>
  /** Hears of each announcement that counts, as it came. */
  onHeard(listener: (heard: HeardAnnouncement) => void): void
  live(): readonly LiveProvider[]
  /** It said that it goes, or has said nothing for a while. */
  isGone(provider: Address): boolean
}

export interface HeardAnnouncement {
  readonly provider: Address
  /** As the provider wrote it. */
  readonly text: string
  /** Whether the provider sent it to this very gateway. */
  readonly isOwn: boolean
}

export interface PresenceDeps {
  readonly clock: Clock
  readonly log: Log
  readonly names: Pick<NameCache, 'peek' | 'resolve' | 'refresh'>
}

export interface PresenceOptions {
  readonly market: Market
  /** Hosts by which providers call this gateway, with a port unless it is the scheme's own. */
  readonly hosts: readonly string[]
}

/** What is cheap is checked first: form, gateway, time, number; then the signature; then whose the name is. */
export function createPresence(
  { clock, log, names }: PresenceDeps,
  { market, hosts }: PresenceOptions,
): Presence {
  const book = createPresenceBook({ clock })
  const keys = createRecent<string, true>(limits.announcedProvidersMax)
  const keysKnown = { has: keys.has, add: (word: string) => keys.set(word, true) }
  const reread = createRecent<Name, number>(limits.announcedProvidersMax)
  const perProvider = createTokenBuckets(
    { clock },
    { requests: limits.announcementsPerProviderPerMinuteMax, windowSeconds: 60 },
    limits.announcedProvidersMax,
  )
  const listeners: ((heard: HeardAnnouncement) => void)[] = []

  const peekRecord = ({ name, provider }: Announcement): ProviderName | undefined =>
    recordOf(names.peek(name), provider)

  /** One that registered a moment ago may be unknown by the cached answer: then the chain is asked, now and then. */
  async function isOwn({ name, provider }: Announcement, signal: AbortSignal): Promise<boolean> {
    if (recordOf(await names.resolve(name, signal), provider)) return true
    const nowMs = clock.monotonicMs()
    if (nowMs - (reread.get(name) ?? Number.NEGATIVE_INFINITY) < limits.announcedNameRereadMs) return false
    reread.set(name, nowMs)
    return recordOf(await names.refresh(name, signal), provider) !== undefined
  }

  function assertNew({ provider, sequence, time }: Announcement): void {
    const known = book.sequenceOf(provider) ?? -1
    if (sequence <= known) throw replayed(`The gateway has heard number ${known} already.`, known)
    const aheadMs = time - clock.nowMs()
    if (Math.abs(aheadMs) > limits.announcementSkewMsMax) {
      const seconds = Math.round(Math.abs(aheadMs) / 1000)
      throw replayed(`By the gateway's clock it is of ${seconds} s ${aheadMs > 0 ? 'ahead' : 'ago'}.`, known)
    }
  }

  async function check(bytes: Uint8Array, isHere: boolean, signal: AbortSignal): Promise<Announcement> {
    const { announcement, verify } = parseAnnouncement(bytes, market)
    const { gateway, name, provider } = announcement
    if (isHere && !hosts.includes(gateway))
      throw announcementInvalid(`It is for ${gateway}, and this is ${hosts[0]}.`)
    assertNew(announcement)
    await verify(keysKnown)
    if (!(await isOwn(announcement, signal)))
      throw announcementInvalid(`The name "${name}" does not stand for ${provider}.`)
    return announcement
  }

  function note(announcement: Announcement, { text, isOwn }: { text: string; isOwn: boolean }): void {
    const { provider, name, state, sequence } = announcement
    const wasThere = book.sequenceOf(provider) !== undefined && !book.isGone(provider)
    // While its name was looked up, a newer one may have come.
    const outcome = book.hear(announcement)
    if (outcome === 'stale') throw replayed('A newer one has come meanwhile.', sequence)
    if (outcome === 'full') throw tooMany('The gateway knows as many providers as it can.')
    if (wasThere !== (state === 'up')) log.info(state === 'up' ? 'provider_came' : 'provider_went', { name })
    for (const listener of listeners) listener({ provider, text, isOwn })
  }

  return {
    async take(bytes, signal) {
      const announcement = await check(bytes, true, signal)
      // Counted once it is clear who says it: else strangers could use up what is another's.
      if (!perProvider.take(announcement.provider).isTaken)
        throw tooMany('This provider announces itself too often.')
      note(announcement, { text: utf8.decode(bytes), isOwn: true })
    },
    async hear(text, signal) {
      note(await check(utf8.encode(text), false, signal), { text, isOwn: false })
    },
    onHeard: (listener) => void listeners.push(listener),
    live: () =>
      book.live().flatMap((announcement) => {
        const record = peekRecord(announcement)
        return record ? [{ announcement, record }] : []
      }),
    isGone: book.isGone,
  }
}

function recordOf(answer: NameAnswer | undefined, provider: Address): ProviderName | undefined {
  if (answer?.kind !== 'known' || answer.record.kind !== 'provider') return undefined
  return answer.record.address === provider ? answer.record : undefined
}

const replayed = (why: string, sequence: number) =>
  new ProtocolError('announcement_replayed', `The announcement is not news. ${why}`, {
    hint: 'Go on from the number that is known; if it stays, compare the clocks.',
    details: { sequence },
  })

const tooMany = (why: string) =>
  new ProtocolError('too_many_requests', why, {
    hint: 'Send it again in a few seconds.',
    details: { retryAfterSeconds: 5 },
  })
