import { hash, randomBytes } from 'node:crypto'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { type Asker, sourceOf } from './asker.ts'
import { createFailureBuckets, createProvenNames, type Place } from './failure-buckets.ts'

/**
 * Knows signed tokens by sight: a signature is checked once, then its token is recognised by a hash with a secret, in a microsecond.
 *
 * Anybody can write a token with anybody's name and a wrong signature. So what fails counts for the place that it came from,
 * not for whom it names: else strangers could keep a payer out.
 */
export interface KnownTokens<T, A extends Asker = Asker> {
  /**
   * @throws ProtocolError what `read` and its check throw; `too_many_requests` while too many signatures fail that come
   * from the asker's place, or from all that are new here (tokens that are known already go on)
   */
  verify(token: string, asker: A): Promise<T>
}

export interface KnownTokensOptions<T, A extends Asker> {
  /** Reads a token, and refuses what is not worth a signature's check. */
  readonly read: (token: string, asker: A) => Check<T>
  readonly cachedMax: number
  readonly failuresPerSecondMax: number
  /** What too many of arrive. */
  readonly noun: string
}

/** The check of a signature. */
export interface Check<T> {
  /** Set where strangers could not have made the token, whoever signed it: what fails counts for this secret's holders alone. */
  readonly secret?: { readonly name: string; readonly payer: string }
  /** Throws where too much of this payer's was checked that was good, and yet for nothing. */
  readonly assertRoom?: () => void
  readonly run: () => Promise<T>
  /** The signature was good. */
  readonly count?: () => void
}

export function createKnownTokens<T, A extends Asker = Asker>(
  { clock }: { clock: Clock },
  { read, cachedMax, failuresPerSecondMax, noun }: KnownTokensOptions<T, A>,
): KnownTokens<T, A> {
  // The tokens themselves are money and are not kept.
  const secret = randomBytes(32).toString('base64')
  const known = createRecent<string, T>(cachedMax)
  const checking = new Map<string, Promise<T>>()
  /** Places of the network from which something good came. */
  const proven = createProvenNames()
  const failures = createFailureBuckets(
    { clock, proven },
    {
      failuresPerSecondMax,
      failuresPerNameMax: limits.failuresPerSourcePerSecondMax,
      failuresPerCrowdMax: limits.failuresPerPeerPerSecondMax,
    },
  )
  const secretFailures = createFailureBuckets(
    { clock, proven: { has: () => false } },
    {
      failuresPerSecondMax,
      failuresPerNameMax: limits.failuresPerPayerPerSecondMax,
      failuresPerCrowdMax: limits.failuresPerPayerPerSecondMax,
    },
  )

  async function run(id: string, check: Check<T>, asker: Asker): Promise<T> {
    const { secret } = check
    const { network, peer } = sourceOf(asker)
    try {
      using place = await (secret
        ? secretFailures.take(secret.name, secret.payer)
        : failures.take(network, peer))
      if (!place) throw tooMany(noun)
      // After the wait for a place: others of the same payer may have been checked meanwhile.
      spare(place, check.assertRoom)
      const value = await check.run()
      place.giveBack()
      check.count?.()
      known.set(id, value)
      proven.set(network, true)
      return value
    } finally {
      checking.delete(id)
    }
  }

  return {
    async verify(token, asker) {
      const id = hash('sha256', secret + token, 'base64')
      const value = known.get(id)
      if (value !== undefined) {
        known.set(id, value)
        return value
      }
      const same = checking.get(id)
      if (same) return same
      const checked = run(id, read(token, asker), asker)
      checking.set(id, checked)
      return checked
    },
  }
}

/** What is not even looked at has not failed. */
function spare(place: Place, look: (() => void) | undefined): void {
  try {
    look?.()
  } catch (error) {
    place.giveBack()
    throw error
  }
}

const tooMany = (noun: string) =>
  new ProtocolError('too_many_requests', `Too many ${noun} with a wrong signature arrive here.`, {
    hint: 'Send it again in a second.',
  })
