import type { Address } from 'viem'
import type { Announcement } from '../../protocol/announcement.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'

/** What providers said last, and when. */
export interface PresenceBook {
  /**
   * Takes in what a provider said.
   *
   * @returns `stale` for what is not newer than what is known; `full` where there is no room for one more provider
   */
  hear(announcement: Announcement): 'taken' | 'stale' | 'full'
  /** The number that the next word of this provider has to be above; undefined where nothing was heard. */
  sequenceOf(provider: Address): number | undefined
  /** Those that are there: what they said last was `up`, and that was not long ago. */
  live(): readonly Announcement[]
  /** It was there, and is no more. Of one that was never heard nobody knows. */
  isGone(provider: Address): boolean
}

interface Heard {
  readonly announcement: Announcement
  readonly atMs: number
}

/**
 * A provider that goes leaves its number behind: without it, what it said in its last minute could be said again. Of very
 * many, those that have been gone for longest are forgotten, once what they said is too old to be taken anyway.
 */
export function createPresenceBook({ clock }: { readonly clock: Clock }): PresenceBook {
  /** Those that were heard last come last. */
  const heard = new Map<Address, Heard>()

  const isLive = ({ announcement, atMs }: Heard, nowMs: number): boolean =>
    announcement.state === 'up' && nowMs - atMs < limits.announcementSilenceMsMax

  function makeRoom(nowMs: number): boolean {
    if (heard.size < limits.announcedProvidersMax) return true
    for (const [provider, { atMs }] of heard) {
      if (nowMs - atMs <= replayableMs) return false
      heard.delete(provider)
      return true
    }
    return false
  }

  return {
    hear(announcement) {
      const { provider, sequence } = announcement
      const nowMs = clock.monotonicMs()
      const before = heard.get(provider)
      if (before && sequence <= before.announcement.sequence) return 'stale'
      if (!before && !makeRoom(nowMs)) return 'full'
      heard.delete(provider)
      heard.set(provider, { announcement, atMs: nowMs })
      return 'taken'
    },
    sequenceOf: (provider) => heard.get(provider)?.announcement.sequence,
    live() {
      const nowMs = clock.monotonicMs()
      return [...heard.values()].filter((one) => isLive(one, nowMs)).map(({ announcement }) => announcement)
    },
    isGone(provider) {
      const last = heard.get(provider)
      return last !== undefined && !isLive(last, clock.monotonicMs())
    },
  }
}

/** For how long what was heard could be taken once more, if its number were forgotten: its time may have been ahead. */
const replayableMs = 2 * limits.announcementSkewMsMax
