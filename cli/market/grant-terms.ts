import type { Grant } from '../../protocol/grant.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { usageError } from '../command.ts'
import { parseDuration } from '../duration.ts'

/** What somebody asked for; what was not asked for is undefined. */
export interface WantedTerms {
  readonly priceUsdc: Usdc
  readonly budgetUsdc: Usdc
  readonly expirySeconds: number | undefined
  readonly noticeHours: number | undefined
}

export interface ChosenTerms {
  readonly priceUsdc: Usdc
  readonly budgetUsdc: Usdc
  /** Seconds since 1970. */
  readonly expiry: number
  readonly noticeHours: number
}

const expirySecondsDefault = 30 * 86_400
export const noticeHoursDefault = 48
/** The escrow keeps a price in 40 bits and a time in 32. */
const priceUsdcMax = 2n ** 40n - 1n
const expiryMax = 2 ** 32 - 1

/** Reads the flags `--expiry` and `--notice`. @throws ProtocolError `usage_invalid` */
export function parseTermFlags({
  expiry,
  notice,
}: {
  expiry: string | undefined
  notice: string | undefined
}): Pick<WantedTerms, 'expirySeconds' | 'noticeHours'> {
  const noticeSeconds = notice === undefined ? undefined : parseDuration('notice', notice)
  if (noticeSeconds !== undefined && (noticeSeconds % 3600 !== 0 || noticeSeconds > 255 * 3600)) {
    throw usageError(`"${notice}" is not a value for --notice.`, 'Use whole hours, from 1h to 255h.')
  }
  return {
    expirySeconds: expiry === undefined ? undefined : parseDuration('expiry', expiry),
    noticeHours: noticeSeconds === undefined ? undefined : noticeSeconds / 3600,
  }
}

/**
 * The terms of the grant afterwards: at least what is wanted, and no less than what is open, as the escrow cuts nothing.
 *
 * @throws ProtocolError `usage_invalid` for more than the escrow can hold
 */
export function chooseTerms(
  wanted: WantedTerms,
  { open, nowSeconds }: { open: Grant | undefined; nowSeconds: number },
): ChosenTerms {
  const expiry = nowSeconds + (wanted.expirySeconds ?? expirySecondsDefault)
  if (wanted.priceUsdc > priceUsdcMax)
    throw usageError('--price is too high for a grant.', 'Use less than 1099511.')
  if (expiry > expiryMax)
    throw usageError('--expiry is too late for a grant.', 'It must be before the year 2106.')
  const max = (a: Usdc, b: Usdc | undefined) => (b !== undefined && b > a ? b : a)
  return {
    priceUsdc: max(wanted.priceUsdc, open?.priceUsdc),
    budgetUsdc: max(wanted.budgetUsdc, open?.budgetUsdc),
    expiry: Math.max(expiry, open?.expiry ?? 0),
    noticeHours: Math.max(wanted.noticeHours ?? noticeHoursDefault, open?.noticeHours ?? 0),
  }
}

/** In what an open grant is better than what was asked for: what a person may have hoped to cut. */
export function findUncut(wanted: WantedTerms, open: Grant): readonly string[] {
  return [
    ...(open.priceUsdc > wanted.priceUsdc ? ['price'] : []),
    ...(open.budgetUsdc > wanted.budgetUsdc ? ['budget'] : []),
    ...(wanted.noticeHours !== undefined && open.noticeHours > wanted.noticeHours ? ['notice'] : []),
  ]
}

/** Whether the grant that is open is as good in every point. */
export function isAsGood(open: Grant, chosen: ChosenTerms): boolean {
  return (
    open.priceUsdc === chosen.priceUsdc &&
    open.budgetUsdc === chosen.budgetUsdc &&
    open.expiry === chosen.expiry &&
    open.noticeHours === chosen.noticeHours
  )
}
