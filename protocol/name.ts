import { type Address, type Hex, namehash } from 'viem'
import type { Brand } from './base/brand.ts'
import { ProtocolError } from './errors.ts'

/** A registered domain in its one spelling: a DNS label in lower case, 1 to 63 characters. */
export type Name = Brand<string, 'Name'>

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/

/**
 * Reads a name that somebody typed or that stands in a host; case does not matter.
 *
 * @throws `name_malformed`
 */
export function parseName(text: string): Name {
  const name = text.toLowerCase()
  if (label.test(name)) return name as Name
  throw new ProtocolError('name_malformed', `"${text.slice(0, 80)}" is not a name.`, {
    hint: 'A name has 1 to 63 letters, digits and hyphens, and begins and ends with none of the latter.',
  })
}

/** How the contracts know a name: the ENS namehash of its one label. */
export function nameNode(name: Name): Hex {
  return namehash(name)
}

/** What the chain said of a provider's name at one block. `server` and `publicKey` are the provider's own word. */
export interface ProviderName {
  readonly name: Name
  readonly owner: Address
  readonly resolver: Address
  /** The provider's account, from `addr()`. */
  readonly address: Address
  /** A hostile string of bounded length. */
  readonly server: string
  /** DER SubjectPublicKeyInfo, unverified. */
  readonly publicKey: Uint8Array
  readonly blockNumber: bigint
}

/** Something that was read may not be so any more: a name's owner or resolver, or a resolver's records. */
export type NameChange =
  | { readonly kind: 'name'; readonly node: Hex }
  | { readonly kind: 'resolver'; readonly resolver: Address }

/** The chain as those who resolve names see it. */
export interface NameReader {
  /**
   * @returns undefined where nobody owns the name.
   * @throws `chain_unreachable`; `provider_address_blocked` where the resolver's answers are no records.
   */
  readName(name: Name, signal: AbortSignal): Promise<ProviderName | undefined>
  /** Tells of changes to names that were read, until disposed; now and then of one that was none. */
  watchNames(onChange: (change: NameChange) => void): AsyncDisposable
}
