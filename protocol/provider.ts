import { z } from 'zod'
import { egressOffers } from './egress.ts'
import { runtimeKinds } from './program.ts'
import { providerMaximaSchema } from './program-limits.ts'
import { addressSchema, usdcSchema } from './schema.ts'

/** What a provider says of itself at `/_/info`. Unsigned: money and keys are taken from the chain, never from here. */
export const providerInfoSchema = z.object({
  name: z.string().max(63),
  address: addressSchema,
  chainId: z.number().int(),
  escrow: addressSchema,
  /** Price of one call in base units of USDC. */
  price: usdcSchema,
  /** Hours of notice that it needs in a grant: one with fewer pays for nothing there. */
  noticeHours: z.number().int().min(1).max(255),
  /** CID of its terms, if it has any. */
  terms: z.string().max(128).nullable(),
  /** Thumbprint of the key to seal for. */
  kid: z.string().max(64),
  runtimes: z.array(z.enum(runtimeKinds)),
  /** What stands between a program and the machine: `sandbox` (kernel walls) or `process` (none; dev chains only). */
  tier: z.enum(['sandbox', 'process']),
  /** The most that it lets programs reach; one that does not say lets them reach nothing. */
  egress: z.enum(egressOffers).default('none'),
  /** What it gives less of than others; deployments that ask for more are refused. */
  limits: providerMaximaSchema.default({}),
  version: z.string().max(32),
})
export type ProviderInfo = z.output<typeof providerInfoSchema>
