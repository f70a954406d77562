import type { Address } from 'viem'
import { z } from 'zod'
import { parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { isPresenceKeyOf, isSaidBy, type PresenceVoice, saidShape } from './presence-key.ts'
import { describeIssues } from './schema.ts'
import type { Market } from './typed-data.ts'

/** Where a provider says that it is alive. */
export const pingPath = '/_/ping'

/** What a caller may have the answer repeat, so that it is no old one: 1 to 64 letters, digits, `-` and `_`. */
export const pingNoncePattern = /^[\w-]{1,64}$/

const pingSchema = z.object({
  ...saidShape,
  kind: z.literal('ping'),
  alive: z.literal(true),
  /** When it was signed, as RFC 3339. */
  time: z.iso.datetime({ precision: 3 }),
  version: z.string().max(32),
  /** What the caller sent; null where it sent nothing. */
  nonce: z.string().regex(pingNoncePattern).nullable(),
})

/** A provider's signed sign of life. */
export type Ping = z.output<typeof pingSchema>

export function signPing(
  voice: PresenceVoice,
  {
    nowMs,
    version,
    nonce,
  }: { readonly nowMs: number; readonly version: string; readonly nonce: string | null },
): Promise<object> {
  const time = new Date(nowMs).toISOString()
  return voice.say({ kind: 'ping', alive: true, provider: voice.provider, time, version, nonce })
}

/**
 * Reads a ping's answer and checks that the account signed it for this very question.
 *
 * @throws ProtocolError `ping_invalid`
 */
export async function readPing(
  bytes: Uint8Array,
  {
    provider,
    nonce,
    market,
  }: { readonly provider: Address; readonly nonce: string; readonly market: Market },
): Promise<Ping> {
  const said = bytes.byteLength > limits.pingBytesMax ? undefined : parseJson(bytes)
  const parsed = pingSchema.safeParse(said)
  if (!parsed.success) throw invalid(`It is none: ${describeIssues(parsed.error)}.`)
  const ping = parsed.data
  if (ping.provider !== provider) throw invalid(`It is of ${ping.provider}, and not of ${provider}.`)
  if (ping.nonce !== nonce) throw invalid('It answers another question, perhaps an old one.')
  if (!isSaidBy(said as Parameters<typeof isSaidBy>[0], ping.key)) throw invalid('Its signature is wrong.')
  if (!(await isPresenceKeyOf(provider, ping.key, market)))
    throw invalid(`${provider} has not vouched for its key in this market.`)
  if (Date.parse(ping.time) / 1000 >= ping.key.validBefore) throw invalid('Its key has ended.')
  return ping
}

const invalid = (why: string) =>
  new ProtocolError('ping_invalid', `The sign of life does not count. ${why}`, {
    hint: 'Somebody else answers at this address, or in between: see "khachapuri resolve <name>".',
  })
