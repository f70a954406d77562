import { z } from 'zod'
import { limits } from './limits.ts'
import type { RuntimeKind } from './program.ts'

/**
 * An origin as its URL spells it: scheme, host in lower case, port unless it is the scheme's own. Below 1024 only the web's
 * two ports: what listens at the others was not made for strangers' requests.
 */
const originSchema = z
  .string()
  .max(limits.egressOriginBytesMax)
  .refine(
    (text) => /^https?:\/\//.test(text) && URL.canParse(text) && new URL(text).origin === text,
    'Expected an origin such as https://api.example.com',
  )
  .refine((text) => {
    const port = URL.canParse(text) ? Number(new URL(text).port || 443) : 443
    return port === 80 || port === 443 || port >= 1024
  }, 'Expected port 80, 443, or one from 1024 on')

/** What a program may reach: nothing, the public internet at its two web ports, or the origins of a list. */
export const egressSchema = z.union(
  [z.enum(['none', 'public']), z.array(originSchema).min(1).max(limits.specOriginsMax)],
  'Expected "none", "public" or a list of origins such as ["https://api.example.com"]',
)
export type Egress = z.output<typeof egressSchema>

/** The most that a provider lets programs reach: nothing, what their deployments list, or the public internet. */
export const egressOffers = ['none', 'listed', 'public'] as const
export type EgressOffer = (typeof egressOffers)[number]

/** Whether a provider with this offer runs a deployment that asks for this. */
export function isOffered(egress: Egress, offer: EgressOffer): boolean {
  if (egress === 'none') return true
  return egress === 'public' ? offer === 'public' : offer !== 'none'
}

/** Why programs of a kind cannot have this egress, as a sentence; undefined where they can. */
export function explainNoEgress(runtime: RuntimeKind, egress: Egress): string | undefined {
  if (egress === 'none' || runtime !== 'wasm') return undefined
  return 'A wasm program has no network: it must give the same answer to the same call on every machine.'
}

/** For people. */
export function formatEgress(egress: Egress): string {
  if (typeof egress === 'string') return egress
  return egress.join(', ')
}

/** With every answer to a program that does not come from the server that it called: the code of the problem. */
export const egressHeader = 'khachapuri-egress'
