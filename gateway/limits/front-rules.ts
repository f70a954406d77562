import { z } from 'zod'
import { networkListSchema } from './client-network.ts'
import { type DenySettings, denySchema } from './deny-list.ts'
import { quotaSchema } from './quota.ts'

/** What strangers may use of a gateway. Quotas hold over all of its processes and its cluster; the two maxima do in each process. */
export const limitSettingsSchema = z.strictObject({
  /** Requests of one client: an IPv4 address, or a /64 of IPv6. */
  client: quotaSchema.prefault('1200/60s'),
  /** Calls of one client to one deployment that its owner pays for. */
  ownerPaid: quotaSchema.prefault('120/60s'),
  /** Calls to one provider, and to one deployment, by all. */
  provider: quotaSchema.prefault('none'),
  deployment: quotaSchema.prefault('none'),
  requestsPerClientMax: z.int().min(1).max(100_000).default(256),
  connectionsPerClientMax: z.int().min(1).max(100_000).default(256),
  /** Slower bodies are given up, as long as no answer has begun; 0 for none. */
  bodyBytesPerSecondMin: z.int().min(0).max(1_000_000).default(256),
  /** Whom no limit holds for: this machine, unless another is said. */
  exempt: networkListSchema.default(['127.0.0.0/8', '::1']),
})
export type LimitSettings = z.output<typeof limitSettingsSchema>

/** Whom strangers write to about what they found behind this gateway. */
export const abuseSettingsSchema = z.strictObject({
  /** `mailto:abuse@market.example`, or the URL of a form. */
  contact: z
    .url({ protocol: /^(?:mailto|https)$/, error: 'Expected mailto:… or https://…' })
    .max(1024)
    .optional(),
  /** What the operator blocks, and how. */
  policy: z
    .url({ protocol: /^https$/, error: 'Expected https://…' })
    .max(1024)
    .optional(),
})
export type AbuseSettings = z.output<typeof abuseSettingsSchema>

/** What a gateway's guard goes by; all of it may change while the gateway runs. */
export interface FrontRules {
  readonly limits: LimitSettings
  readonly deny: DenySettings
  /** Addresses and networks whose `X-Forwarded-For` is believed. */
  readonly trustedProxies: readonly string[]
  readonly abuse: AbuseSettings
}

export const frontRulesShape = {
  trustedProxies: networkListSchema.default([]),
  limits: limitSettingsSchema.prefault({}),
  deny: denySchema.prefault({}),
  abuse: abuseSettingsSchema.prefault({}),
}

/** What holds where nobody says anything. */
export const frontRulesDefault: FrontRules = z.strictObject(frontRulesShape).parse({})
