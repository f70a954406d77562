import { createHmac, randomBytes } from 'node:crypto'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { createFailureBucket } from './failure-bucket.ts'

/** Knows signed tokens by sight: a signature is checked once, then its token is recognised by an HMAC in microseconds. */
export interface KnownTokens<T> {
  /**
   * @throws ProtocolError what `read` and its check throw; `too_many_requests` while too many signatures fail (tokens that
   * are known already go on)
   */
  verify(token: string): Promise<T>
}

export interface KnownTokensOptions<T> {
  /** Reads a token, and refuses what is not worth a signature's check. @returns the check */
  readonly read: (token: string) => () => Promise<T>
  readonly cachedMax: number
  readonly failuresPerSecondMax: number
  /** What too many of arrive. */
  readonly noun: string
}

export function createKnownTokens<T>(
  { clock }: { clock: Clock },
  { read, cachedMax, failuresPerSecondMax, noun }: KnownTokensOptions<T>,
): KnownTokens<T> {
  // The tokens themselves are money and are not kept.
  const secret = randomBytes(32)
  const known = new Map<string, T>()
  const checking = new Map<string, Promise<T>>()
  const failures = createFailureBucket(clock, failuresPerSecondMax)

  function remember(id: string, value: T): void {
    known.set(id, value)
    const oldest = known.size > cachedMax ? known.keys().next().value : undefined
    if (oldest !== undefined) known.delete(oldest)
  }

  async function run(id: string, check: () => Promise<T>): Promise<T> {
    try {
      const value = await check()
      remember(id, value)
      return value
    } catch (error) {
      failures.add()
      throw error
    } finally {
      checking.delete(id)
    }
  }

  return {
    async verify(token) {
      const id = createHmac('sha256', secret).update(token).digest('base64')
      const value = known.get(id)
      if (value !== undefined) {
        known.delete(id)
        known.set(id, value)
        return value
      }
      const same = checking.get(id)
      if (same) return same
      const check = read(token)
      if (failures.isFull()) {
        throw new ProtocolError('too_many_requests', `Too many ${noun} with a wrong signature arrive here.`, {
          hint: 'Send it again in a second.',
        })
      }
      const checked = run(id, check)
      checking.set(id, checked)
      return checked
    },
  }
}
