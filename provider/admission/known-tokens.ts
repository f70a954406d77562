import { createHmac, randomBytes } from 'node:crypto'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { createFailureBuckets, createProvenNames } from './failure-buckets.ts'

/** Knows signed tokens by sight: a signature is checked once, then its token is recognised by an HMAC in microseconds. */
export interface KnownTokens<T> {
  /**
   * @throws ProtocolError what `read` and its check throw; `too_many_requests` while too many signatures fail, in the name
   * of this payer or of all that are new here (tokens that are known already go on)
   */
  verify(token: string): Promise<T>
}

export interface KnownTokensOptions<T> {
  /** Reads a token, and refuses what is not worth a signature's check. */
  readonly read: (token: string) => Check<T>
  readonly cachedMax: number
  readonly failuresPerSecondMax: number
  /** What too many of arrive. */
  readonly noun: string
}

/** The check of a signature. */
export interface Check<T> {
  /** In whose name the token is: failures in it refuse no others. */
  readonly name: string
  /** Strangers could not have made it: what they fail with in this name does not count for it. */
  readonly isItsOwn?: boolean
  readonly run: () => Promise<T>
}

export function createKnownTokens<T>(
  { clock }: { clock: Clock },
  { read, cachedMax, failuresPerSecondMax, noun }: KnownTokensOptions<T>,
): KnownTokens<T> {
  // The tokens themselves are money and are not kept.
  const secret = randomBytes(32)
  const known = createRecent<string, T>(cachedMax)
  const checking = new Map<string, Promise<T>>()
  const proven = createProvenNames()
  const bounds = { failuresPerSecondMax, failuresPerNameMax: limits.failuresPerPayerPerSecondMax }
  const failures = createFailureBuckets({ clock, proven }, bounds)
  const ownFailures = createFailureBuckets({ clock, proven }, bounds)

  async function run(id: string, check: Check<T>): Promise<T> {
    try {
      using place = await (check.isItsOwn ? ownFailures : failures).take(check.name)
      if (!place) throw tooMany(noun)
      const value = await check.run()
      place.giveBack()
      known.set(id, value)
      proven.set(check.name, true)
      return value
    } finally {
      checking.delete(id)
    }
  }

  return {
    async verify(token) {
      const id = createHmac('sha256', secret).update(token).digest('base64')
      const value = known.get(id)
      if (value !== undefined) {
        known.set(id, value)
        return value
      }
      const same = checking.get(id)
      if (same) return same
      const checked = run(id, read(token))
      checking.set(id, checked)
      return checked
    },
  }
}

const tooMany = (noun: string) =>
  new ProtocolError('too_many_requests', `Too many ${noun} with a wrong signature arrive here.`, {
    hint: 'Send it again in a second.',
  })
