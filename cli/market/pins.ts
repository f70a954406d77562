import { join } from 'node:path'
import type { Address } from 'viem'
import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { addressSchema } from '../../protocol/schema.ts'
import { homeOf, readFileBounded, replaceFile } from '../files.ts'

const identitySchema = z.strictObject({
  /** The provider's account. */
  address: addressSchema,
  /** Thumbprint of the key that secrets are sealed for. */
  kid: z.string().max(64),
  /** Who owned the name then. It may change hands: what is paid and sealed goes to the other two. */
  owner: addressSchema.optional(),
})

/** Who a provider is: what must not change behind a client's back. */
export type Identity = z.output<typeof identitySchema>

/** Names by market; a market is its chain from the first block on, and its registry. */
const pinsSchema = z.record(z.string(), z.record(z.string(), identitySchema))

export interface PinKey {
  readonly market: string
  readonly name: string
}

const fileName = 'identities.json'

/**
 * Holds a provider to what it was at the first meeting (trust on first use, as ssh does), and remembers it.
 *
 * @returns whether this was the first meeting.
 * @throws ProtocolError `identity_changed`, unless `accept`
 */
export async function pinIdentity(
  { market, name }: PinKey,
  identity: Identity,
  { env, accept }: { env: Readonly<Record<string, string | undefined>>; accept: boolean },
): Promise<{ isFirst: boolean }> {
  const path = join(homeOf(env), fileName)
  const pins = await readPins(path)
  const known = pins[market]?.[name]
  if (known && known.address === identity.address && known.kid === identity.kid) return { isFirst: false }
  if (known && !accept) throw changed(name, { known, identity })
  await replaceFile(
    path,
    `${JSON.stringify({ ...pins, [market]: { ...pins[market], [name]: identity } }, undefined, 2)}\n`,
  )
  return { isFirst: known === undefined }
}

/** Who was met under which name, by address. @throws ProtocolError `config_invalid` */
export async function readPinnedNames(
  market: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ReadonlyMap<Address, string>> {
  const pins = await readPins(join(homeOf(env), fileName))
  return new Map(Object.entries(pins[market] ?? {}).map(([name, { address }]) => [address, name]))
}

async function readPins(path: string): Promise<z.output<typeof pinsSchema>> {
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  if (!bytes) return {}
  const parsed = pinsSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError('config_invalid', `${path} does not hold identities.`, {
    hint: 'Mend it or move it away; without it every provider is met for the first time.',
  })
}

function changed(name: string, { known, identity }: { known: Identity; identity: Identity }): ProtocolError {
  const details = { name, known, found: identity }
  const key = `its key was ${known.kid} and is ${identity.kid}`
  if (known.address === identity.address) {
    const isSameOwner = known.owner !== undefined && known.owner === identity.owner
    const owner = isSameOwner ? ', and so is the owner of the name, who published it' : ''
    return new ProtocolError(
      'identity_changed',
      `"${name}" has another key for secrets: ${key}. Its account is the same${owner}.`,
      {
        hint: 'Providers change it with "provider rotate-key". If you expected that, add --accept-identity; if not, ask the provider by another way.',
        details,
      },
    )
  }
  const facts = [
    `its account was ${known.address} and is ${identity.address}`,
    ...(known.kid === identity.kid ? [] : [key]),
  ]
  return new ProtocolError('identity_changed', `"${name}" is not who it was: ${facts.join(', ')}.`, {
    hint: 'Ask the provider, by another way, whether this is meant; if so, add --accept-identity.',
    details,
  })
}
