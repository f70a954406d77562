import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent, type Recent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'

/**
 * Bounds work that strangers ask for and that may be for nothing: a signature's check, a look at the chain. A place is
 * taken before the work and given back where it was worth it; what failed comes back with time.
 *
 * Every name has a bucket of its own, so that who fails shuts out itself, or whom it names, and nobody else. As there are
 * names without end, all of them share one more; names that have proved themselves share another.
 */
export interface FailureBuckets {
  /**
   * Takes a place; waits where those under way decide whether there is one.
   *
   * @param name - Whose work it is.
   * @param crowd - What this name shares with others of which somebody may have as many as he likes.
   * @returns undefined where too much has failed: then the work is not done
   */
  take(name: string, crowd?: string): Promise<Place | undefined>
}

/** Disposal without `giveBack` says that the work was for nothing. */
export interface Place extends Disposable {
  giveBack(): void
}

export interface FailureBucketsOptions {
  /** Of one name. */
  readonly failuresPerNameMax: number
  /** Of one crowd; as many as of all by default. */
  readonly failuresPerCrowdMax?: number
  /** Of all names that have proved nothing, and once more of all others. */
  readonly failuresPerSecondMax: number
}

/** Names that have shown that they are worth work, such as payers who have paid. The newest ones; in memory. */
export type ProvenNames = Pick<Recent<string, true>, 'has' | 'set'>

export const createProvenNames = (): ProvenNames => createRecent(limits.provenPayersMax)

export function createFailureBuckets(
  { clock, proven }: { clock: Clock; proven: Pick<ProvenNames, 'has'> },
  {
    failuresPerNameMax,
    failuresPerSecondMax,
    failuresPerCrowdMax = failuresPerSecondMax,
  }: FailureBucketsOptions,
): FailureBuckets {
  const byName = createRecent<string, Bucket>(limits.payersWatchedMax)
  const byCrowd = createRecent<string, Bucket>(limits.payersWatchedMax)
  const ofStrangers = { bucket: createBucket(clock, failuresPerSecondMax), waiting: 0 }
  const ofProven = { bucket: createBucket(clock, failuresPerSecondMax), waiting: 0 }
  let ended = Promise.withResolvers<void>()

  function bucketsOf(name: string, crowd: string | undefined): { buckets: readonly Bucket[]; hall: Hall } {
    const hall = proven.has(name) ? ofProven : ofStrangers
    const own = byName.get(name) ?? createBucket(clock, failuresPerNameMax)
    if (crowd === undefined || hall === ofProven) return { buckets: [own, hall.bucket], hall }
    const shared = byCrowd.get(crowd) ?? createBucket(clock, failuresPerCrowdMax)
    return { buckets: [own, hall.bucket, shared], hall }
  }

  function tellWaiting(): void {
    ended.resolve()
    ended = Promise.withResolvers()
  }

  function start(name: string, crowd: string | undefined, buckets: readonly Bucket[]): Place {
    const [own, , shared] = buckets
    // Only now: names for which no work is done must not displace others.
    if (own) byName.set(name, own)
    if (shared && crowd !== undefined) byCrowd.set(crowd, shared)
    for (const bucket of buckets) bucket.start()
    let isOpen = true
    const end = (hasFailed: boolean) => {
      if (!isOpen) return
      isOpen = false
      for (const bucket of buckets) bucket.end(hasFailed)
      tellWaiting()
    }
    return { giveBack: () => end(false), [Symbol.dispose]: () => end(true) }
  }

  return {
    async take(name, crowd) {
      for (;;) {
        const { buckets, hall } = bucketsOf(name, crowd)
        if (buckets.some((bucket) => bucket.isFull())) return undefined
        if (buckets.every((bucket) => bucket.hasPlace())) return start(name, crowd, buckets)
        if (hall.waiting >= limits.callsInFlightPerProviderMax) return undefined
        hall.waiting += 1
        await ended.promise
        hall.waiting -= 1
      }
    },
  }
}

/** Those who share a bound, and how many of them wait. */
interface Hall {
  readonly bucket: Bucket
  waiting: number
}

interface Bucket {
  /** Of failures. */
  isFull(): boolean
  /** Whether it would still not be full if all that is under way failed. */
  hasPlace(): boolean
  start(): void
  end(hasFailed: boolean): void
}

/** Failures fill it, and time empties it: so many a second, and as many at once. */
function createBucket(clock: Clock, failuresPerSecondMax: number): Bucket {
  let level = 0
  let levelAtMs = clock.monotonicMs()
  let underWay = 0
  const drain = () => {
    const nowMs = clock.monotonicMs()
    level = Math.max(0, level - ((nowMs - levelAtMs) / 1000) * failuresPerSecondMax)
    levelAtMs = nowMs
    return level
  }
  return {
    isFull: () => drain() >= failuresPerSecondMax,
    hasPlace: () => drain() + underWay < failuresPerSecondMax,
    start() {
      underWay += 1
    },
    end(hasFailed) {
      underWay -= 1
      if (hasFailed) level = drain() + 1
    },
  }
}
