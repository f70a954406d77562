import { bls12_381 } from '@noble/curves/bls12-381.js'
import { type Hex, hexToBytes } from 'viem'
import { toHex, utf8 } from './base/bytes.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import type { ProgramId } from './program.ts'

/**
 * Attestations: what a program said in an activation, under the key of the provider that ran it. A signature of BLS12-381 with public
 * keys in G1 and signatures in G2 (draft-irtf-cfrg-bls-signature), over the message hashed to G2 by RFC 9380
 * (`BLS12381G2_XMD:SHA-256_SSWU_RO`) with the 32 bytes of the programId as domain separation tag. These are also Carol's bytes, whose
 * machine id is the programId with `sha256(canonical params)` for its params.
 */

/** Compressed, as ZCash and the BLS draft write them. */
export const attestPublicKeyBytes = 48
export const attestSignatureBytes = 96

/** Nobody's attestation can be one of these: a programId has 32 bytes, and this has 43 (draft-irtf-cfrg-bls-signature, section 4.2.3). */
const possessionTag = utf8.encode('BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_')

const scheme = bls12_381.longSignatures
const { Point: G1 } = bls12_381.G1
const { Point: G2 } = bls12_381.G2

type KeyPoint = InstanceType<typeof G1>
type SignaturePoint = InstanceType<typeof G2>

/** A provider's key, and that who published it has the secret half. Without, keys could be made up that cancel those of others. */
export interface AttestKey {
  readonly publicKey: Hex
  /** A signature over the public key, under a tag of its own. */
  readonly proofOfPossession: Hex
}

/** One signature over one message of one program: of one provider, or of several in one. */
export interface Attestation {
  readonly programId: ProgramId
  readonly message: Hex
  readonly signature: Hex
}

/** @param secretKey - 32 bytes, big-endian, of a number from 1 on and below the order of the group. */
export function attestKeyOf(secretKey: Uint8Array): AttestKey {
  const publicKey = scheme.getPublicKey(secretKey).toBytes()
  const possession = scheme.sign(scheme.hash(publicKey, possessionTag), secretKey)
  return { publicKey: toHex(publicKey), proofOfPossession: toHex(possession.toBytes()) }
}

/** The same bytes each time: it takes no randomness. */
export function signAttestation(
  message: Uint8Array,
  { programId, secretKey }: { readonly programId: ProgramId; readonly secretKey: Uint8Array },
): Uint8Array {
  return scheme.sign(scheme.hash(message, hexToBytes(programId)), secretKey).toBytes()
}

/** @returns whether whoever has the key signed this message as one of this program; false for bytes that are no key or signature */
export function verifyAttestation({ programId, message, signature }: Attestation, publicKey: Hex): boolean {
  const key = readKey(publicKey)
  const point = readSignature(signature)
  return key !== undefined && point !== undefined && isSignedBy(key, { programId, message }, point)
}

/** @returns whether who published the key has its secret half */
export function verifyPossession({ publicKey, proofOfPossession }: AttestKey): boolean {
  const key = readKey(publicKey)
  const proof = readSignature(proofOfPossession)
  if (!key || !proof) return false
  return scheme.verify(proof, scheme.hash(key.toBytes(), possessionTag), key)
}

/**
 * Adds up attestations of the same message by different providers. What it gives is of the size of one, and is verified with all of
 * their keys.
 *
 * @throws ProtocolError `attestation_invalid` where programs or messages differ, or one is no signature
 */
export function aggregateAttestations(attestations: readonly Attestation[]): Attestation {
  const [first] = attestations
  if (!first) throw invalidAttestation('There is none to add up.')
  for (const { programId, message } of attestations) {
    if (programId !== first.programId || message !== first.message)
      throw invalidAttestation('They are not all of one message and one program.')
  }
  assertCount(attestations.length)
  const points = attestations.map(({ signature }) => readSignature(signature) ?? noSignature(signature))
  const sum = points.reduce((a, b) => a.add(b))
  if (sum.is0()) throw invalidAttestation('They cancel each other.')
  return { ...first, signature: toHex(sum.toBytes()) }
}

/**
 * Whether all of the keys signed, and no others. Each must come with its proof of possession: whoever may name any key as its own
 * can name one that takes the others out of the sum, and so "sign" for them.
 */
export function verifyAggregate(
  { programId, message, signature }: Attestation,
  keys: readonly AttestKey[],
): boolean {
  const isDistinct = new Set(keys.map(({ publicKey }) => publicKey)).size === keys.length
  if (keys.length === 0 || keys.length > limits.attestationKeysMax || !isDistinct) return false
  if (!keys.every(verifyPossession)) return false
  const points = keys.map(({ publicKey }) => readKey(publicKey) as KeyPoint)
  const point = readSignature(signature)
  const sum = points.reduce((a, b) => a.add(b))
  return point !== undefined && isSignedBy(sum, { programId, message }, point)
}

function isSignedBy(
  key: KeyPoint,
  { programId, message }: Pick<Attestation, 'programId' | 'message'>,
  signature: SignaturePoint,
): boolean {
  return scheme.verify(signature, scheme.hash(hexToBytes(message), hexToBytes(programId)), key)
}

/** On the curve, in the right subgroup, and not its zero. */
function readKey(hex: Hex): KeyPoint | undefined {
  return readPoint(hex, attestPublicKeyBytes, (bytes) => G1.fromBytes(bytes))
}

function readSignature(hex: Hex): SignaturePoint | undefined {
  return readPoint(hex, attestSignatureBytes, (bytes) => G2.fromBytes(bytes))
}

function readPoint<P extends KeyPoint | SignaturePoint>(
  hex: Hex,
  bytes: number,
  read: (bytes: Uint8Array) => P,
): P | undefined {
  if (!/^0x[0-9a-f]*$/.test(hex) || hex.length !== 2 + 2 * bytes) return undefined
  try {
    // It throws for what is zero, not on the curve, or outside of the subgroup.
    return read(hexToBytes(hex))
  } catch {
    return undefined
  }
}

function assertCount(count: number): void {
  if (count > limits.attestationKeysMax)
    throw invalidAttestation(`There are ${count} of them, and at most ${limits.attestationKeysMax} may be.`)
}

function noSignature(signature: Hex): never {
  throw invalidAttestation(`${signature.slice(0, 20)}… is no signature.`)
}

export const invalidAttestation = (why: string) =>
  new ProtocolError('attestation_invalid', `The attestation does not hold. ${why}`, {
    hint: 'Compare message, signature, program and key with what the program answered; see docs/attestations.md.',
  })
