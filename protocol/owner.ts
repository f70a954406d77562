import { z } from 'zod'
import { limits } from './limits.ts'
import { usdcSchema } from './schema.ts'
import { addUsdc, type Usdc } from './usdc.ts'

/** Who may be asked to pay for a deployment's calls. */
export const payerChoices = ['owner', 'caller', 'any'] as const
export type PayerChoice = (typeof payerChoices)[number]

/** An `Origin` header's value, as browsers write it (RFC 6454). */
const originSchema = z
  .string()
  .max(255)
  .regex(/^https?:\/\/[a-z0-9.:[\]-]+$/)

/** What the owner signed about paying for strangers' calls. `null` stands for no cap but the grant's. */
export const ownerPolicySchema = z.strictObject({
  ownerPays: z.strictObject({
    maxUsdcPerDay: usdcSchema.nullable(),
    maxCallsPerMinute: z.number().int().min(1).max(10_000_000).nullable(),
  }),
  /** Web origins whose pages may spend the owner's money; `any` also admits callers that send no origin. */
  origins: z.union([z.literal('any'), z.array(originSchema).max(limits.specOriginsMax)]),
})
export type OwnerPolicy = z.output<typeof ownerPolicySchema>

/** What this deployment has cost its owner at this provider lately, calls in flight included. */
export interface OwnerUsage {
  readonly spentTodayUsdc: Usdc
  readonly callsThisMinute: number
}

export type OwnerVerdict =
  | { readonly kind: 'pays' }
  | { readonly kind: 'origin_not_allowed' }
  | { readonly kind: 'day_cap_reached'; readonly capUsdc: Usdc }
  | { readonly kind: 'minute_cap_reached'; readonly calls: number }

/** Whether the owner pays for one more call of a caller that proved nothing. */
export function decideOwnerPays({
  policy,
  usage,
  priceUsdc,
  origin,
}: {
  policy: OwnerPolicy
  usage: OwnerUsage
  priceUsdc: Usdc
  origin: string | undefined
}): OwnerVerdict {
  const { maxUsdcPerDay, maxCallsPerMinute } = policy.ownerPays
  if (policy.origins !== 'any' && (origin === undefined || !policy.origins.includes(origin))) {
    return { kind: 'origin_not_allowed' }
  }
  if (maxUsdcPerDay !== null && addUsdc(usage.spentTodayUsdc, priceUsdc) > maxUsdcPerDay) {
    return { kind: 'day_cap_reached', capUsdc: maxUsdcPerDay }
  }
  if (maxCallsPerMinute !== null && usage.callsThisMinute >= maxCallsPerMinute) {
    return { kind: 'minute_cap_reached', calls: maxCallsPerMinute }
  }
  return { kind: 'pays' }
}
