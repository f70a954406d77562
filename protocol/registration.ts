import { type Address, encodeAbiParameters, type Hex, keccak256, stringToHex } from 'viem'
import { ProtocolError } from './errors.ts'
import { anyProvider, type Name } from './name.ts'

/** The registry's rules, in seconds. A test compares them with the contract's. */
export const registrationRules = {
  /** From a commitment to the registration that it was made of. */
  commitmentAgeMin: 60,
  commitmentAgeMax: 24 * 3600,
  /** From now to the expiry. */
  durationMin: 28 * 24 * 3600,
  durationMax: 3650 * 24 * 3600,
  /** After the expiry: the name resolves as before and can be renewed. */
  grace: 30 * 24 * 3600,
  /** After that, and after a name was given back: it is nobody's. */
  quarantine: 7 * 24 * 3600,
} as const

/** What registers a name. All of it is fixed by the commitment. */
export interface RegistrationTerms {
  readonly name: Name
  readonly owner: Address
  readonly resolver: Address
  readonly durationSeconds: number
  /** 32 bytes that nobody could guess. Whoever knows them before the registration can tell which name is meant. */
  readonly secret: Hex
}

/** Where a name is registered: a commitment for one registry means nothing to another. */
export interface RegistryPlace {
  readonly chainId: number
  readonly registry: Address
}

/** What to commit to. It is computed here and not asked of an RPC server, which would learn the secret. */
export function registrationCommitment(
  { name, owner, resolver, durationSeconds, secret }: RegistrationTerms,
  { chainId, registry }: RegistryPlace,
): Hex {
  return keccak256(
    encodeAbiParameters(
      [
        { type: 'bytes32' },
        { type: 'address' },
        { type: 'address' },
        { type: 'uint256' },
        { type: 'bytes32' },
        { type: 'uint256' },
        { type: 'address' },
      ],
      [
        keccak256(stringToHex(name)),
        owner,
        resolver,
        BigInt(durationSeconds),
        secret,
        BigInt(chainId),
        registry,
      ],
    ),
  )
}

/** What stands for something else in the hosts of a gateway, so that a name like it could never be called. */
const reserved: ReadonlySet<string> = new Set([anyProvider])

/**
 * Holds a name to what the registry takes: 3 characters or more, and no `--` as the third and fourth, which browsers
 * and ENS read as another script; and to what gateways answer for.
 *
 * @throws ProtocolError `name_malformed`
 */
export function assertRegistrable(name: Name): void {
  if (reserved.has(name)) {
    throw new ProtocolError('name_malformed', `The name "${name}" stands for any provider.`, {
      hint: 'Choose another one: no gateway would lead callers to it.',
    })
  }
  if (name.length >= 3 && name.slice(2, 4) !== '--') return
  throw new ProtocolError('name_malformed', `The name "${name}" cannot be registered.`, {
    hint: 'Choose one of 3 to 63 letters, digits and hyphens, with no two hyphens as third and fourth.',
  })
}
