import { z } from 'zod'
import { parseJson } from './canonical-json.ts'
import { egressOffers } from './egress.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { type Name, parseName } from './name.ts'
import { isPresenceKeyOf, isSaidBy, type PresenceVoice, saidShape } from './presence-key.ts'
import { runtimeKinds } from './program.ts'
import { describeIssues, usdcSchema } from './schema.ts'
import type { Market } from './typed-data.ts'

/** Where a provider announces itself to a gateway, and where the gateway lists those that did. */
export const announcePath = '/_/providers'

/** Where a machine stands, in its operator's words: letters, digits and hyphens. */
export const regionPattern = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/

const nameSchema = z.string().transform((text, context): Name => {
  try {
    return parseName(text)
  } catch {
    context.addIssue({ code: 'custom', message: 'Expected a name' })
    return z.NEVER
  }
})

const countSchema = z
  .int()
  .min(0)
  .max(2 ** 48)

const announcementSchema = z.object({
  ...saidShape,
  kind: z.literal('announcement'),
  name: nameSchema,
  /** Host, and port unless it is the scheme's own, of the gateway that is told. It means nothing at another one. */
  gateway: z.string().min(1).max(255),
  /** `down` takes it back. */
  state: z.enum(['up', 'down']),
  /** Milliseconds since 1970. */
  time: countSchema,
  /** Grows with each word to this gateway. */
  sequence: countSchema,
  /** What its Resolver says: where gateways find it. */
  endpoint: z.string().min(1).max(512),
  region: z.string().regex(regionPattern).nullable(),
  version: z.string().max(32),
  /** Base units of USDC for a call. */
  price: usdcSchema,
  runtimes: z.array(z.enum(runtimeKinds)).max(runtimeKinds.length),
  tier: z.enum(['sandbox', 'process']),
  egress: z.enum(egressOffers),
  capacity: z.object({
    /** For all programs together; null where it has no bound of its own. */
    memoryMiB: countSchema.nullable(),
    /** Calls at a time, and how many there are now. */
    calls: countSchema,
    callsInFlight: countSchema,
  }),
})

/**
 * What a provider says of itself to a gateway every few seconds. Unlike `/_/info` it is signed, and tells nobody anything
 * once it is old.
 */
export type Announcement = z.output<typeof announcementSchema>

/** What it says of itself; the voice adds who it is. */
export type AnnouncedFacts = Omit<
  Announcement,
  'kind' | 'provider' | 'key' | 'signature' | 'gateway' | 'state' | 'time' | 'sequence'
>

/** @returns the JSON to send. */
export async function formatAnnouncement(
  voice: PresenceVoice,
  announcement: AnnouncedFacts & Pick<Announcement, 'gateway' | 'state' | 'time' | 'sequence'>,
): Promise<string> {
  const price = announcement.price.toString()
  return JSON.stringify(
    await voice.say({ kind: 'announcement', provider: voice.provider, ...announcement, price }),
  )
}

/**
 * Reads an announcement, and gives the check of who said it. Whether it is old only its reader knows.
 *
 * @throws ProtocolError `announcement_invalid`
 */
export function parseAnnouncement(
  bytes: Uint8Array,
  market: Market,
): { readonly announcement: Announcement; verify(known: KeysKnown): Promise<void> } {
  const said = bytes.byteLength > limits.announcementBytesMax ? undefined : parseJson(bytes)
  const parsed = announcementSchema.safeParse(said)
  if (!parsed.success) throw announcementInvalid(`It is none: ${describeIssues(parsed.error)}.`)
  const announcement = parsed.data
  const { provider, key, time } = announcement
  return {
    announcement,
    async verify(known) {
      if (time / 1000 >= key.validBefore) throw announcementInvalid('Its key has ended.')
      const word = `${provider} ${key.publicKey} ${key.validBefore} ${key.delegation}`
      if (!known.has(word)) {
        if (!(await isPresenceKeyOf(provider, key, market)))
          throw announcementInvalid(`${provider} has not vouched for its key in this market.`)
      }
      if (!isSaidBy(said as Parameters<typeof isSaidBy>[0], key))
        throw announcementInvalid('Its signature is wrong.')
      known.add(word)
    },
  }
}

/** Delegations that were checked before. */
export interface KeysKnown {
  has(word: string): boolean
  add(word: string): void
}

export const announcementInvalid = (why: string) =>
  new ProtocolError('announcement_invalid', `The announcement does not count. ${why}`, {
    hint: 'Only the account that the name stands for can announce it: see "khachapuri resolve <name>".',
  })
