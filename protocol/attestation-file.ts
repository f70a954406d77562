import { z } from 'zod'
import { type Attestation, type AttestKey, invalidAttestation } from './attestation.ts'
import { parseJson } from './canonical-json.ts'
import { limits } from './limits.ts'
import type { ProgramId } from './program.ts'
import { describeIssues, hexSchema } from './schema.ts'

/**
 * An attestation as a file: what `khachapuri verify-attestation --json` and `khachapuri attestation aggregate` write, and what a
 * program may answer with. Other fields beside these are nobody's affair here.
 */
const fileSchema = z.looseObject({
  programId: hexSchema(32),
  message: z
    .string()
    .max(2 + 2 * limits.attestMessageBytesMax)
    .regex(/^0x(?:[0-9a-f]{2})*$/, 'Expected bytes as lower-case 0x…')
    .transform((text) => text as `0x${string}`),
  signature: hexSchema(96),
  /** Of those who signed it. */
  keys: z
    .array(z.looseObject({ publicKey: hexSchema(48), proofOfPossession: hexSchema(96) }))
    .max(limits.attestationKeysMax)
    .optional(),
})

export interface KeptAttestation {
  readonly attestation: Attestation
  /** As the file says; none where it says nothing. */
  readonly keys: readonly AttestKey[]
}

/** @throws ProtocolError `attestation_invalid` for a file that is none */
export function parseAttestationFile(bytes: Uint8Array): KeptAttestation {
  const isBounded = bytes.byteLength <= limits.attestationFileBytesMax
  const parsed = fileSchema.safeParse(isBounded ? parseJson(bytes) : undefined)
  if (!parsed.success) throw invalidAttestation(`The file is none: ${describeIssues(parsed.error)}.`)
  const { programId, message, signature, keys = [] } = parsed.data
  return {
    attestation: { programId: programId as ProgramId, message, signature },
    keys: keys.map(({ publicKey, proofOfPossession }) => ({ publicKey, proofOfPossession })),
  }
}
