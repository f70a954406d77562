import { createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto'
import { type Address, type Hex, hashTypedData, type LocalAccount } from 'viem'
import { z } from 'zod'
import { toHex, utf8 } from './base/bytes.ts'
import { encodeCanonicalJson, type Json } from './canonical-json.ts'
import { addressSchema, hexSchema, secondsSchema } from './schema.ts'
import { findSigner } from './signed-by.ts'
import { type Market, marketDomain } from './typed-data.ts'

/**
 * The Ed25519 key by which a provider says every few seconds that it is there. The account that holds its money vouches
 * for it once (EIP-712): the key moves no money and signs no receipt, and costs a tenth of the account's signature to check.
 */
export interface PresenceKey {
  readonly publicKey: Hex
  /** Seconds since 1970. */
  readonly validBefore: number
  /** EIP-712 `PresenceKey(provider, publicKey, validBefore)` by the provider's account, 65 bytes. */
  readonly delegation: Hex
}

export const presenceKeySchema = z.object({
  publicKey: hexSchema(32),
  validBefore: secondsSchema,
  delegation: hexSchema(65),
})

export const presenceKeyTypes = {
  PresenceKey: [
    { name: 'provider', type: 'address' },
    { name: 'publicKey', type: 'bytes32' },
    { name: 'validBefore', type: 'uint64' },
  ],
} as const

const delegationOf = (provider: Address, { publicKey, validBefore }: Omit<PresenceKey, 'delegation'>) =>
  ({
    types: presenceKeyTypes,
    primaryType: 'PresenceKey',
    message: { provider, publicKey, validBefore: BigInt(validBefore) },
  }) as const

/** Whether the account of `provider` vouched for the key in this market; its time is another question. */
export async function isPresenceKeyOf(provider: Address, key: PresenceKey, market: Market): Promise<boolean> {
  const hash = hashTypedData({ ...delegationOf(provider, key), domain: marketDomain(market) })
  const claim = { address: provider, hash, signature: key.delegation }
  return (await findSigner(claim, undefined)) !== undefined
}

/** What was signed: plain JSON with the key and its signature of all the rest. */
export type Said<Fields> = Fields & { readonly key: PresenceKey; readonly signature: Hex }

/** Says things for a provider. */
export interface PresenceVoice {
  readonly provider: Address
  /** The key, vouched for anew where it soon ends. */
  key(): Promise<PresenceKey>
  /**
   * Signs fields of which `kind` says what they are, so that nothing that was said for one purpose serves another.
   */
  say<Fields extends { readonly kind: string }>(fields: Fields): Promise<Said<Fields>>
}

const daySeconds = 24 * 60 * 60
const keyDays = 30

/** A voice with a key of this process. */
export function createPresenceVoice(
  { nowMs }: { readonly nowMs: () => number },
  { account, market }: { readonly account: LocalAccount; readonly market: Market },
): PresenceVoice {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = toHex(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32))
  let current: Promise<PresenceKey> | undefined
  let renewAtSeconds = 0

  async function delegate(validBefore: number): Promise<PresenceKey> {
    const key = { publicKey: raw, validBefore }
    const delegation = await account.signTypedData({
      ...delegationOf(account.address, key),
      domain: marketDomain(market),
    })
    return { ...key, delegation }
  }

  const key = (): Promise<PresenceKey> => {
    const nowSeconds = Math.floor(nowMs() / 1000)
    if (current && nowSeconds < renewAtSeconds) return current
    renewAtSeconds = nowSeconds + (keyDays - 1) * daySeconds
    const renewed = delegate(nowSeconds + keyDays * daySeconds)
    renewed.catch(() => {
      renewAtSeconds = 0
    })
    current = renewed
    return renewed
  }

  return {
    provider: account.address,
    key,
    async say(fields) {
      const said = { ...fields, key: await key() }
      return { ...said, signature: toHex(sign(null, bytesOf(said), privateKey)) }
    },
  }
}

/**
 * Whether these fields were signed with the key that is among them. Any further field counts, too, known or not.
 *
 * @param said - As it came, with every field: what a schema made of it may be written otherwise.
 */
export function isSaidBy(said: { readonly [field: string]: Json }, key: PresenceKey): boolean {
  const { signature, ...rest } = said
  if (typeof signature !== 'string' || !/^0x[0-9a-f]{128}$/.test(signature)) return false
  return verify(null, bytesOf(rest), toKeyObject(key.publicKey), Buffer.from(signature.slice(2), 'hex'))
}

const bytesOf = (fields: object): Uint8Array =>
  Buffer.concat([utf8.encode('Khachapuri presence\n'), encodeCanonicalJson(fields as Json)])

/** RFC 8410: what stands before the 32 bytes of an Ed25519 key in its DER form. */
const ed25519Prefix = Buffer.from('302a300506032b6570032100', 'hex')

const toKeyObject = (publicKey: Hex): KeyObject =>
  createPublicKey({
    key: Buffer.concat([ed25519Prefix, Buffer.from(publicKey.slice(2), 'hex')]),
    format: 'der',
    type: 'spki',
  })

/** What everything that is said has in common. */
export const saidShape = { provider: addressSchema, key: presenceKeySchema, signature: hexSchema(64) }
