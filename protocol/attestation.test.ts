import { bls12_381 } from '@noble/curves/bls12-381.js'
import { type Hex, hexToBytes } from 'viem'
import { expect, test } from 'vitest'
import {
  type Attestation,
  type AttestKey,
  aggregateAttestations,
  attestKeyOf,
  signAttestation,
  verifyAggregate,
  verifyAttestation,
  verifyPossession,
} from './attestation.ts'
import { toHex, utf8 } from './base/bytes.ts'
import type { ProgramId } from './program.ts'

const programId = `0x${'5a'.repeat(32)}` as ProgramId
const message = toHex(utf8.encode('{"price":64010,"symbol":"BTC"}'))
const secretOf = (byte: number) => new Uint8Array(32).fill(byte)
const attest = (secretKey: Uint8Array, of: Omit<Attestation, 'signature'> = { programId, message }) => ({
  ...of,
  signature: toHex(signAttestation(hexToBytes(of.message), { programId: of.programId, secretKey })),
})

const keys = [1, 2, 3].map((byte) => attestKeyOf(secretOf(byte)))
const attestations = [1, 2, 3].map((byte) => attest(secretOf(byte)))
const [key, ...otherKeys] = keys as [AttestKey, AttestKey, AttestKey]
const [attestation] = attestations as [Attestation]

const flip = (hex: Hex, index: number): Hex => {
  const bytes = hexToBytes(hex)
  bytes[index] = (bytes[index] as number) ^ 1
  return toHex(bytes)
}

test('an attestation holds for its message, program and key', () => {
  expect(verifyAttestation(attestation, key.publicKey)).toBe(true)
  expect(attest(secretOf(1))).toEqual(attestation)
  expect(verifyAttestation(attest(secretOf(1), { programId, message: '0x' }), key.publicKey)).toBe(true)
  expect(verifyAttestation(attestation, otherKeys[0]!.publicKey)).toBe(false)
})

test('a flip of a byte of the message, the signature or the programId breaks it', { timeout: 30_000 }, () => {
  const holds = (altered: Partial<Attestation>) =>
    verifyAttestation({ ...attestation, ...altered }, key.publicKey)
  // A pairing takes 20 ms, so not of each: both ends, both coordinates, and what lies between.
  for (const i of [0, 1, 20, 47, 48, 70, 95])
    expect(holds({ signature: flip(attestation.signature, i) })).toBe(false)
  for (const i of [0, 13, 31]) expect(holds({ programId: flip(programId, i) as ProgramId })).toBe(false)
  for (const i of [0, 9, 29]) expect(holds({ message: flip(message, i) })).toBe(false)
  expect(holds({ message: `${message}00` })).toBe(false)
})

test('bytes that are no key or no signature are refused, not thrown at', () => {
  const zeroKey: Hex = `0xc0${'00'.repeat(47)}`
  const zeroSignature: Hex = `0xc0${'00'.repeat(95)}`
  expect(verifyAttestation({ ...attestation, signature: zeroSignature }, zeroKey)).toBe(false)
  expect(verifyAttestation({ ...attestation, signature: zeroSignature }, key.publicKey)).toBe(false)
  expect(verifyAttestation(attestation, `0x${'ff'.repeat(48)}`)).toBe(false)
  expect(verifyAttestation(attestation, '0x')).toBe(false)
  // (0, 2) is on the curve, and of order 3: with such a key few signatures would do for all messages.
  const smallKey: Hex = `0x80${'00'.repeat(47)}`
  expect(() => bls12_381.G1.Point.fromAffine({ x: 0n, y: 2n }).assertValidity()).toThrow('subgroup')
  expect(verifyAttestation(attestation, smallKey)).toBe(false)
  expect(verifyPossession({ ...key, publicKey: smallKey })).toBe(false)
  expect(verifyAttestation(attestation, key.publicKey.toUpperCase() as Hex)).toBe(false)
  expect(verifyAttestation({ ...attestation, signature: `${attestation.signature}00` }, key.publicKey)).toBe(
    false,
  )
})

test('the bytes are those of RFC 9380 and the BLS draft with the programId as tag, so Carol’s: pinned', () => {
  const { hashToCurve } = bls12_381.G2
  const point = hashToCurve(hexToBytes(message), { DST: hexToBytes(programId) })
  const scalar = BigInt(toHex(secretOf(1)))
  expect(toHex(point.multiply(scalar).toBytes())).toBe(attestation.signature)
  expect(toHex(bls12_381.G1.Point.BASE.multiply(scalar).toBytes())).toBe(key.publicKey)
  expect({ key, signature: attestation.signature }).toMatchInlineSnapshot(`
    {
      "key": {
        "proofOfPossession": "0x82ddc4aa85aa01a3db921c397443f205cb087584dbcd07c4c4f559082c00947f8dffb89e7cba4a1ccd02168c76087aad0d5a96075c454770f429218cbe65e4185c606b74f435538d127c33317c2a1b6241011bcb27512b193f34dff9353ee801",
        "publicKey": "0xaa1a1c26055a329817a5759d877a2795f9499b97d6056edde0eea39512f24e8bc874b4471f0501127abb1ea0d9f68ac1",
      },
      "signature": "0xa06954cf3c7b7fa5f4695149bc385afd78be25122795ed638201ae9226eadeab62dae8e619eadffdaabd43c6fed9682f025576abfdba1049d2b3fab21c69cadb0bb8c2e96b8f0cb43f5d73bface455955da20c7b99a1a7fc404184df76aad0ba",
    }
  `)
})

test('k attestations of one message add up to one signature, which k keys verify and k - 1 do not', () => {
  const sum = aggregateAttestations(attestations)
  expect(sum.signature).toHaveLength(attestation.signature.length)
  expect(verifyAggregate(sum, [keys[2]!, keys[0]!, keys[1]!])).toBe(true)
  expect(verifyAggregate(sum, keys.slice(1))).toBe(false)
  expect(verifyAggregate(aggregateAttestations(attestations.slice(1)), keys)).toBe(false)
  expect(verifyAggregate({ ...sum, programId: flip(programId, 0) as ProgramId }, keys)).toBe(false)
  expect(verifyAggregate(sum, [])).toBe(false)
})

test('one key counts once, however often it signs', () => {
  const twice = aggregateAttestations([attestation, attestation])
  expect(verifyAggregate(twice, [key, key])).toBe(false)
})

test('a key that takes another out of the sum is refused: nobody has its secret half', () => {
  const { Point } = bls12_381.G1
  const mine = secretOf(9)
  const point = Point.BASE.multiply(BigInt(toHex(mine))).subtract(Point.fromBytes(hexToBytes(key.publicKey)))
  const rogue: AttestKey = {
    publicKey: toHex(point.toBytes()),
    // All that it can show: the proof of the key that it has.
    proofOfPossession: attestKeyOf(mine).proofOfPossession,
  }
  const forged = attest(mine)
  // Without the proofs it would have "signed" for the other.
  expect(verifyAttestation(forged, attestKeyOf(mine).publicKey)).toBe(true)
  expect(verifyPossession(rogue)).toBe(false)
  expect(verifyAggregate(forged, [key, rogue])).toBe(false)
  expect(verifyPossession(key)).toBe(true)
  expect(verifyPossession({ ...key, proofOfPossession: otherKeys[0]!.proofOfPossession })).toBe(false)
})

test('no attestation is a proof of possession, whatever the program', () => {
  const asMessage = { programId, message: key.publicKey }
  const { signature } = attest(secretOf(1), asMessage)
  expect(verifyPossession({ ...key, proofOfPossession: signature })).toBe(false)
})

test('attestations that differ in more than the signature do not add up', () => {
  const other = attest(secretOf(2), { programId, message: '0x00' })
  expect(() => aggregateAttestations([attestation, other])).toThrow('not all of one message')
  const elsewhere = attest(secretOf(2), { programId: `0x${'00'.repeat(32)}` as ProgramId, message })
  expect(() => aggregateAttestations([attestation, elsewhere])).toThrow('not all of one message')
  expect(() => aggregateAttestations([])).toThrow('none')
  expect(() => aggregateAttestations([{ ...attestation, signature: '0x00' }])).toThrow('no signature')
})

test('keys that cancel each other sign nothing', () => {
  const order = bls12_381.fields.Fr.ORDER
  const scalar = order - BigInt(toHex(secretOf(1)))
  const negative = hexToBytes(`0x${scalar.toString(16).padStart(64, '0')}`)
  const opposite = attestKeyOf(negative)
  expect(verifyPossession(opposite)).toBe(true)
  expect(() => aggregateAttestations([attestation, attest(negative)])).toThrow('cancel')
  expect(verifyAggregate(attestation, [key, opposite])).toBe(false)
})
