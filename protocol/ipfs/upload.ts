import { type Address, type Hex, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { z } from 'zod'
import { base64url } from '../base/bytes.ts'
import { encodeCanonicalJson, parseJson } from '../canonical-json.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { addressSchema, hexSchema, secondsSchema } from '../schema.ts'
import { type Market, marketDomain } from '../typed-data.ts'

/** The EIP-712 type of an upload's authorisation. No contract reads it. The order of fields is wire format. */
export const uploadTypes = {
  Upload: [
    { name: 'owner', type: 'address' },
    { name: 'root', type: 'string' },
    { name: 'carBytes', type: 'uint64' },
    { name: 'carDigest', type: 'bytes32' },
    { name: 'keeper', type: 'string' },
    { name: 'validBefore', type: 'uint64' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const

const uploadSchema = z.strictObject({
  owner: addressSchema,
  /** The CID under which the content will be asked for. */
  root: z.string().max(limits.cidBytesMax),
  carBytes: z.number().int().min(1).max(limits.carBytesMax),
  /** SHA-256 of the CAR. */
  carDigest: hexSchema(32),
  /** The keeper's public origin: on any other keeper the signature means nothing. */
  keeper: z.string().max(limits.serverUrlBytesMax),
  validBefore: secondsSchema,
  nonce: hexSchema(32),
})

/** What an owner signs to put content into one keeper, once. */
export type Upload = z.output<typeof uploadSchema>

/** The scheme of the `Authorization` header that carries an upload. */
export const uploadScheme = 'Khachapuri-Upload'

/** Signs an upload. @returns the value of the `Authorization` header. */
export async function signUpload(upload: Upload, owner: LocalAccount, market: Market): Promise<string> {
  const signature = await owner.signTypedData(typedData(upload, market))
  const payload = base64url.encode(encodeCanonicalJson(upload))
  return `${uploadScheme} ${payload}.${base64url.encode(Buffer.from(signature.slice(2), 'hex'))}`
}

/**
 * Reads the `Authorization` header of an upload and checks who signed it. Whether the keeper takes it is
 * `findUploadFault`'s matter.
 *
 * @throws ProtocolError `upload_refused` where there is none, `upload_invalid`, `signature_invalid`
 */
export async function verifyUpload(authorization: string | undefined, market: Market): Promise<Upload> {
  const { payload, signature } = splitHeader(authorization)
  const parsed = uploadSchema.safeParse(parseJson(payload))
  if (!parsed.success) throw invalid('its payload does not hold the fields of an upload')
  const signer = await recoverTypedDataAddress({
    ...typedData(parsed.data, market),
    signature: `0x${Buffer.from(signature).toString('hex')}`,
  }).catch(() => undefined)
  if (signer !== parsed.data.owner) {
    throw new ProtocolError('signature_invalid', 'The upload was altered, or signed by another key.', {
      hint: 'Sign it with the key of its owner, for this chain and escrow.',
    })
  }
  return parsed.data
}

/** Why a verified upload may not start here and now, or undefined where it may. */
export function findUploadFault(
  upload: Upload,
  facts: { readonly root: string; readonly keeper: string; readonly nowSeconds: number },
): string | undefined {
  if (upload.root !== facts.root) return `it was signed for the root ${upload.root.slice(0, 80)}`
  if (upload.keeper !== facts.keeper) return `it was signed for another keeper; this one is ${facts.keeper}`
  if (facts.nowSeconds >= upload.validBefore) return 'it has expired'
  const ageMax = limits.uploadAuthorizationAgeSecondsMax
  if (upload.validBefore > facts.nowSeconds + ageMax) return `it is valid for more than ${ageMax} seconds`
  return undefined
}

function typedData(upload: Upload, market: Market) {
  const { carBytes, validBefore } = upload
  return {
    types: uploadTypes,
    primaryType: 'Upload',
    domain: marketDomain(market),
    message: { ...upload, carBytes: BigInt(carBytes), validBefore: BigInt(validBefore) } as UploadMessage,
  } as const
}

interface UploadMessage {
  readonly owner: Address
  readonly root: string
  readonly carBytes: bigint
  readonly carDigest: Hex
  readonly keeper: string
  readonly validBefore: bigint
  readonly nonce: Hex
}

function splitHeader(authorization: string | undefined): { payload: Uint8Array; signature: Uint8Array } {
  const [scheme, token = '', ...words] = (authorization ?? '').split(' ')
  if (scheme?.toLowerCase() !== uploadScheme.toLowerCase()) {
    throw new ProtocolError('upload_refused', 'An upload needs the signature of its owner.', {
      hint: `Send "Authorization: ${uploadScheme} <payload>.<signature>", or use "khachapuri deploy".`,
    })
  }
  if (token.length > limits.uploadAuthorizationBytesMax) {
    throw invalid(`it has more than ${limits.uploadAuthorizationBytesMax} bytes`)
  }
  const [payloadText = '', signatureText = '', ...parts] = token.split('.')
  const payload = base64url.decode(payloadText)
  const signature = base64url.decode(signatureText)
  if (words.length + parts.length > 0 || !payload || signature?.byteLength !== 65) {
    throw invalid('it is not of the form <payload>.<signature>')
  }
  return { payload, signature }
}

function invalid(why: string): ProtocolError {
  return new ProtocolError('upload_invalid', `The authorisation of the upload cannot be read: ${why}.`, {
    hint: 'Use "khachapuri deploy", or see protocol/ipfs/README.md.',
  })
}
