import { type Address, type Hex, namehash } from 'viem'
import type { Brand } from './base/brand.ts'
import { ProtocolError } from './errors.ts'

/** A registered domain in its one spelling: a DNS label in lower case, 1 to 63 characters. */
export type Name = Brand<string, 'Name'>

/** The label that stands for any provider at a gateway; the registry may know a name like it, which nobody can call. */
export const anyProvider = 'any'

/** Matched before anything is lower-cased: some letters of other scripts become ASCII by that, such as the Kelvin sign. */
const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i

/**
 * Reads a name that somebody typed or that stands in a host; case does not matter.
 *
 * @throws `name_malformed`
 */
export function parseName(text: string): Name {
  if (label.test(text)) return text.toLowerCase() as Name
  throw new ProtocolError('name_malformed', `"${text.slice(0, 80)}" is not a name.`, {
    hint: 'A name has 1 to 63 letters, digits and hyphens, and begins and ends with none of the latter.',
  })
}

/** How the contracts know a name: the ENS namehash of its one label. */
export function nameNode(name: Name): Hex {
  return namehash(name)
}

/** What the chain said of a name at one block. */
export type NameRecord = ProviderName | DeploymentName

interface NameFacts {
  readonly name: Name
  readonly owner: Address
  readonly resolver: Address
  readonly blockNumber: bigint
}

/** The name of a provider: one that stands for no content. `server` and `publicKey` are the provider's own word. */
export interface ProviderName extends NameFacts {
  readonly kind: 'provider'
  /** The provider's account, from `addr()`. */
  readonly address: Address
  /** A hostile string of bounded length. */
  readonly server: string
  /** DER SubjectPublicKeyInfo, unverified. */
  readonly publicKey: Uint8Array
}

/** The name of a deployment: one with a `contenthash`. Both records are hostile, and bounded in length. */
export interface DeploymentName extends NameFacts {
  readonly kind: 'deployment'
  /** As ENSIP-7 has it; never empty. */
  readonly contenthash: Uint8Array
  /** The text `providers`: names of those that serve it, apart by commas or spaces. */
  readonly providers: string
}

/** The key of the text that lists who serves a deployment's name. */
export const providersKey = 'providers'

/** @throws ProtocolError `provider_unknown` for a name that stands for something else, or for nothing. */
export function requireProvider(record: NameRecord | undefined, name: Name): ProviderName {
  if (record?.kind === 'provider') return record
  const isDeployment = record !== undefined
  throw new ProtocolError(
    'provider_unknown',
    isDeployment
      ? `The name "${name}" stands for a deployment, and not for a provider.`
      : `Nobody has registered the name "${name}".`,
    {
      hint: isDeployment
        ? `See "khachapuri name show ${name}" for the providers that serve it.`
        : 'Check its spelling; in the local market there are alice and bob.',
    },
  )
}

/** Something that was read may not be so any more: a name's owner or resolver, or a resolver's records. */
export type NameChange =
  | { readonly kind: 'name'; readonly node: Hex }
  | { readonly kind: 'resolver'; readonly resolver: Address }

/** The chain as those who resolve names see it. */
export interface NameReader {
  /**
   * @param atBlock - What it was then; now, unless it is given.
   * @returns undefined where nobody owns the name.
   * @throws `chain_unreachable`; `provider_address_blocked` where the resolver's answers are no records.
   */
  readName(name: Name, signal: AbortSignal, atBlock?: bigint): Promise<NameRecord | undefined>
  /** Tells of changes to names that were read, until disposed; now and then of one that was none. */
  watchNames(onChange: (change: NameChange) => void): AsyncDisposable
}
