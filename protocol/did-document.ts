import { createPublicKey } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { type Address, getAddress, type Hex, hashTypedData, type LocalAccount } from 'viem'
import { z } from 'zod'
import type { AttestKey } from './attestation.ts'
import { sha256, toHex } from './base/bytes.ts'
import { encodeCanonicalJson, type Json, parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import type { ProviderName } from './name.ts'
import { addressSchema, describeIssues, hexSchema, secondsSchema } from './schema.ts'
import { thumbprintOf } from './seal.ts'
import { findSigner } from './signed-by.ts'
import { type Market, marketDomain } from './typed-data.ts'

/** Where a provider shows its DID document (did:web). */
export const didPath = '/.well-known/did.json'

/** What a document says. */
export interface DidFacts {
  /** By which the provider is called, with a port unless it is the scheme's own. */
  readonly host: string
  readonly name: string
  readonly provider: Address
  readonly registry: Address
  /** What its Resolver says. */
  readonly endpoint: string
  /** Where it is called. */
  readonly url: string
  /** P-256, of the receipts of this process. */
  readonly receiptKey: { readonly x: Hex; readonly y: Hex }
  /** Ed25519, of announcements and pings. */
  readonly presenceKey: Hex
  /** BLS12-381, of what programs attest here. */
  readonly attestKey: AttestKey
  /** DER SubjectPublicKeyInfo, RSA, for which deployments are sealed. */
  readonly sealKeyDer: Uint8Array
}

/** Of a compressed point in G1 of BLS12-381, as a multicodec (`bls12_381-g1-pub`, 0xea) in front of it. */
const attestKeyCodec = Uint8Array.of(0xea, 0x01)

const proofType = 'KhachapuriChainProof2026'

const documentTypes = {
  ProviderDocument: [
    { name: 'provider', type: 'address' },
    { name: 'registry', type: 'address' },
    { name: 'name', type: 'string' },
    { name: 'endpoint', type: 'string' },
    { name: 'digest', type: 'bytes32' },
    { name: 'validBefore', type: 'uint64' },
  ],
} as const

type DocumentFacts = Pick<DidFacts, 'provider' | 'registry' | 'name' | 'endpoint'> & {
  readonly digest: Hex
  readonly validBefore: number
}

const typedDocument = (facts: DocumentFacts, market: Market) =>
  ({
    types: documentTypes,
    primaryType: 'ProviderDocument',
    domain: marketDomain(market),
    message: { ...facts, validBefore: BigInt(facts.validBefore) },
  }) as const

const digestOf = (document: Json): Hex => toHex(sha256(encodeCanonicalJson(document)))

/** `did:web` of a host: a port's colon is written as `%3A`. */
export const didOf = (host: string): string => `did:web:${host.replace(':', '%3A')}`

/**
 * Writes a document (DID Core 1.0) whose proof is the account's signature (EIP-712) over its SHA-256 as canonical JSON and
 * over what the chain said of the name: where the record changes, the document holds no more.
 *
 * @param validBefore - Seconds since 1970.
 */
export async function signDidDocument(
  facts: DidFacts,
  { account, market, validBefore }: { account: LocalAccount; market: Market; validBefore: number },
): Promise<object> {
  const { provider, registry, name, endpoint } = facts
  const document = describeDocument(facts, market)
  const signed = { provider, registry, name, endpoint, digest: digestOf(document as Json), validBefore }
  return {
    ...document,
    proof: {
      type: proofType,
      proofPurpose: 'assertionMethod',
      verificationMethod: `${didOf(facts.host)}#account`,
      chainId: market.chainId,
      escrow: getAddress(market.escrow),
      ...signed,
      signature: await account.signTypedData(typedDocument(signed, market)),
    },
  }
}

function describeDocument(facts: DidFacts, { chainId }: Market): object {
  const id = didOf(facts.host)
  const base64 = (hex: Hex) => Buffer.from(hex.slice(2), 'hex').toString('base64url')
  const sealKey = createPublicKey({ key: Buffer.from(facts.sealKeyDer), format: 'der', type: 'spki' })
  const method = (name: string, publicKeyJwk: object) => ({
    id: `${id}#${name}`,
    type: 'JsonWebKey',
    controller: id,
    publicKeyJwk,
  })
  const { x, y } = facts.receiptKey
  return {
    '@context': [
      'https://www.w3.org/ns/did/v1',
      'https://w3id.org/security/suites/secp256k1recovery-2020/v2',
      'https://w3id.org/security/jwk/v1',
      'https://w3id.org/security/multikey/v1',
    ],
    id,
    alsoKnownAs: [`did:pkh:eip155:${chainId}:${facts.provider}`],
    verificationMethod: [
      {
        id: `${id}#account`,
        type: 'EcdsaSecp256k1RecoveryMethod2020',
        controller: id,
        blockchainAccountId: `eip155:${chainId}:${facts.provider}`,
      },
      method('receipts', { kty: 'EC', crv: 'P-256', x: base64(x), y: base64(y) }),
      method('presence', { kty: 'OKP', crv: 'Ed25519', x: base64(facts.presenceKey) }),
      method('seal', sealKey.export({ format: 'jwk' })),
      {
        id: `${id}#attest`,
        type: 'Multikey',
        controller: id,
        publicKeyMultibase: base58btc.encode(
          Buffer.concat([attestKeyCodec, Buffer.from(facts.attestKey.publicKey.slice(2), 'hex')]),
        ),
        proofOfPossession: facts.attestKey.proofOfPossession,
      },
    ],
    assertionMethod: [`${id}#account`, `${id}#receipts`, `${id}#presence`, `${id}#attest`],
    keyAgreement: [`${id}#seal`],
    service: [
      { id: `${id}#calls`, type: 'KhachapuriProvider', serviceEndpoint: facts.url },
      { id: `${id}#endpoint`, type: 'KhachapuriEndpoint', serviceEndpoint: facts.endpoint },
    ],
  }
}

const text = z.string().max(1024)
const jwkSchema = z.looseObject({ kty: z.string().max(16), crv: z.string().max(16).optional() })
const documentSchema = z.looseObject({
  id: text,
  verificationMethod: z
    .array(
      z.looseObject({
        id: text,
        type: text,
        blockchainAccountId: text.optional(),
        publicKeyJwk: jwkSchema.optional(),
        publicKeyMultibase: text.optional(),
        proofOfPossession: hexSchema(96).optional(),
      }),
    )
    .max(16),
  service: z.array(z.looseObject({ id: text, type: text, serviceEndpoint: text })).max(16),
  proof: z.looseObject({
    type: z.literal(proofType),
    chainId: z.int(),
    escrow: addressSchema,
    provider: addressSchema,
    registry: addressSchema,
    name: z.string().max(63),
    endpoint: z.string().max(limits.serverUrlBytesMax),
    digest: hexSchema(32),
    validBefore: secondsSchema,
    signature: hexSchema(65),
  }),
})

export type DidDocument = z.output<typeof documentSchema>

export interface DidCheck {
  /** What the chain says now. */
  readonly record: Pick<ProviderName, 'name' | 'address' | 'server'>
  /** Thumbprint of the key that the chain names. */
  readonly kid: string
  readonly registry: Address
  readonly market: Market
  readonly nowSeconds: number
}

/**
 * Reads a document and holds it against the chain.
 *
 * @throws ProtocolError `did_invalid` where the account did not sign it, `did_outdated` where the chain says something else by now
 */
export async function readDidDocument(bytes: Uint8Array, check: DidCheck): Promise<DidDocument> {
  const { record, market, registry } = check
  const { document, json } = parseDocument(bytes)
  const { proof } = document
  if (
    proof.chainId !== market.chainId ||
    proof.escrow !== getAddress(market.escrow) ||
    proof.registry !== getAddress(registry)
  )
    throw invalid('Its proof is of another chain, escrow or registry.')
  if (proof.name !== record.name || proof.provider !== record.address)
    throw invalid(`It is of ${proof.name}, ${proof.provider}; the chain names ${record.address}.`)
  await assertSigned(document, json)

  if (proof.endpoint !== record.server)
    throw outdated(`It was signed for ${shown(proof.endpoint)}; the chain says ${shown(record.server)}.`)
  if (proof.validBefore <= check.nowSeconds) throw outdated('Its time is over.')
  const kid = await sealKidOf(document)
  if (kid !== check.kid) throw outdated('The chain names another key to seal for.')
  return document
}

/**
 * Reads a document without a chain: that the account which it names signed every byte of it, for the market that it names, at some
 * time. Whether it is the account that one means, and holds still, is for the caller to compare.
 *
 * @throws ProtocolError `did_invalid`
 */
export async function readSignedDidDocument(bytes: Uint8Array): Promise<DidDocument> {
  const { document, json } = parseDocument(bytes)
  await assertSigned(document, json)
  return document
}

/** The key with which the provider attests; of older documents there is none. Whether it has the secret half is not checked here. */
export function attestKeyOfDocument({ id, verificationMethod }: DidDocument): AttestKey | undefined {
  const method = verificationMethod.find((one) => one.id === `${id}#attest`)
  if (!method?.publicKeyMultibase || !method.proofOfPossession) return undefined
  try {
    const [first, second, ...key] = base58btc.decode(method.publicKeyMultibase)
    if (first !== attestKeyCodec[0] || second !== attestKeyCodec[1]) return undefined
    return { publicKey: toHex(Uint8Array.from(key)), proofOfPossession: method.proofOfPossession }
  } catch {
    return undefined
  }
}

function parseDocument(bytes: Uint8Array): { document: DidDocument; json: Json } {
  const json = bytes.byteLength > limits.didBytesMax ? undefined : parseJson(bytes)
  const parsed = documentSchema.safeParse(json)
  if (!parsed.success) throw invalid(`It is none: ${describeIssues(parsed.error)}.`)
  return { document: parsed.data, json: json as Json }
}

/** @throws ProtocolError `did_invalid` where its own account did not sign these bytes */
async function assertSigned({ proof }: DidDocument, json: Json): Promise<void> {
  const { proof: _, ...rest } = json as { readonly [field: string]: Json }
  if (digestOf(rest) !== proof.digest) throw invalid('It was altered: its digest is another one.')
  const hash = hashTypedData(typedDocument(proof, proof))
  if (!(await findSigner({ address: proof.provider, hash, signature: proof.signature }, undefined)))
    throw invalid(`${proof.provider} did not sign it.`)
}

/** Of the key to seal for, if there is one. */
async function sealKidOf({ id, verificationMethod }: DidDocument): Promise<string | undefined> {
  const method = verificationMethod.find((one) => one.id === `${id}#seal`)
  try {
    return await thumbprintOf(createPublicKey({ key: method?.publicKeyJwk as never, format: 'jwk' }))
  } catch {
    return undefined
  }
}

const shown = (endpoint: string) => JSON.stringify(endpoint.slice(0, 200))

const invalid = (why: string) =>
  new ProtocolError('did_invalid', `The DID document does not hold. ${why}`, {
    hint: 'Somebody else answers at this address, or in between: see "khachapuri resolve <name>".',
  })

const outdated = (why: string) =>
  new ProtocolError('did_outdated', `The DID document is of another time. ${why}`, {
    hint: 'Fetch it again; a provider that runs shows what the chain says within seconds.',
  })
