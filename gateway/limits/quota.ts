import { z } from 'zod'

/** Names of quotas, as in `RateLimit` and in metrics. */
export const quotaNames = ['client', 'owner-paid', 'provider', 'deployment'] as const
export type QuotaName = (typeof quotaNames)[number]

/** How many requests within how long; as many may come at once, and they come back evenly. */
export interface Quota {
  readonly requests: number
  readonly windowSeconds: number
}

const secondsPer = { s: 1, m: 60, h: 3600, d: 86_400 } as const

/** `600/60s`, `10000/1d`, or `none`. */
export const quotaSchema = z.string().transform((text, context): Quota | undefined => {
  if (text === 'none') return undefined
  const [, requests, count, unit] = /^(\d{1,9})\/(\d{1,6})([smhd])$/.exec(text) ?? []
  const quota = {
    requests: Number(requests),
    windowSeconds: Number(count) * secondsPer[(unit ?? 's') as keyof typeof secondsPer],
  }
  if (quota.requests >= 1 && quota.windowSeconds >= 1 && quota.windowSeconds <= 30 * secondsPer.d)
    return quota
  context.addIssue({ code: 'custom', message: 'Expected a quota such as 600/60s, or none' })
  return z.NEVER
})

/** What is left of a quota, for `RateLimit`. */
export interface QuotaLeft {
  /** A name of ours: it stands in quotes. */
  readonly name: string
  readonly quota: Quota
  readonly remaining: number
  /** Until all of it is back. */
  readonly resetSeconds: number
}

/** `RateLimit-Policy` and `RateLimit` as of draft-ietf-httpapi-ratelimit-headers-10. */
export function rateLimitHeaders(quotas: readonly QuotaLeft[]): string[] {
  if (quotas.length === 0) return []
  let policy = ''
  let left = ''
  for (const { name, quota, remaining, resetSeconds } of quotas) {
    const comma = policy === '' ? '' : ', '
    policy += `${comma}"${name}";q=${quota.requests};w=${quota.windowSeconds}`
    left += `${comma}"${name}";r=${remaining};t=${resetSeconds}`
  }
  return ['ratelimit-policy', policy, 'ratelimit', left]
}
