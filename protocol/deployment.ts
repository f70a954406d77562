import { type Hex, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { z } from 'zod'
import { activationsSchema, canAttest, capabilitiesSchema, explainNoActivations } from './activation.ts'
import { sha256, toHex } from './base/bytes.ts'
import { isRecordable, recordRuleSchema, whyNotRecordable } from './call-record.ts'
import { encodeCanonicalJson, type Json, parseJson } from './canonical-json.ts'
import { egressSchema, explainNoEgress } from './egress.ts'
import { encryptedProgramSchema } from './encrypted-program.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import { ownerPolicySchema, payerChoices } from './owner.ts'
import { isNativeOnly, nativeModes, type Params, runtimeKinds } from './program.ts'
import { limitShape } from './program-limits.ts'
import { addressSchema, describeIssues, secondsSchema } from './schema.ts'
import { compareRuleSchema } from './swarm/compare-answers.ts'
import { type Market, marketDomain, typedDataTypes } from './typed-data.ts'

const cidSchema = z
  .string()
  .min(1)
  .max(128)
  .regex(/^[a-z0-9]+$/, 'Expected a CID in lower-case base32')

const entrySchema = z
  .string()
  .min(1)
  .max(limits.zipPathBytesMax)
  .refine((path) => !path.startsWith('/') && !path.split('/').includes('..'), 'Expected a relative path')

const jsonObjectSchema = z.custom<Params>(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  'Expected a JSON object',
)

const envSchema = z
  .record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]{0,127}$/, 'Expected a variable name'), z.string())
  .refine((env) => Object.keys(env).length <= limits.envEntriesMax, 'Too many variables')
  .refine((env) => Buffer.byteLength(JSON.stringify(env)) <= limits.envBytesMax, 'Too many bytes')

const draftShape = {
  version: z.literal(1),
  chainId: z.number().int().min(1),
  escrow: addressSchema,
  /** The zip's CID. */
  program: cidSchema,
  runtime: z.enum(runtimeKinds),
  /** How a native program answers; `cgi` where it is absent. */
  native: z.enum(nativeModes).optional(),
  /** The file of the zip that runs. */
  entry: entrySchema,
  /** Public; part of the programId. */
  params: jsonObjectSchema.refine(
    (params) => Buffer.byteLength(JSON.stringify(params)) <= limits.paramsBytesMax,
    'Too many bytes',
  ),
  /** Secret once sealed; plain for everybody in a public deployment. */
  env: envSchema,
  limits: z.strictObject({
    ...limitShape,
    egress: egressSchema,
  }),
  /** Who may run it; empty means anybody. */
  providers: z.array(addressSchema).max(limits.specProvidersMax),
  payer: z.enum(payerChoices),
  policy: ownerPolicySchema,
  /** CID of the providers' terms that the owner accepted. */
  terms: cidSchema.nullable(),
  owner: addressSchema,
  createdAt: secondsSchema,
  /**
   * Where the zip is kept encrypted. Absent, and not `null`, where it is plain: a default would change what owners of
   * older specs have signed.
   */
  encrypted: encryptedProgramSchema.optional(),
  /** What makes two answers the same, where several providers vote on one. */
  compare: compareRuleSchema.optional(),
  /** That what its calls were asked with is kept, so that they can be run again. */
  record: recordRuleSchema.optional(),
  /** What it offers beside its handler: as the manifest in the zip says. */
  activations: activationsSchema.optional(),
  /** What it asks of its provider, likewise. */
  capabilities: capabilitiesSchema.optional(),
}

const draftSchema = z.strictObject(draftShape)

const specSchema = z
  .strictObject({
    ...draftShape,
    signature: z.string().regex(/^0x[0-9a-f]{130}$/, 'Expected a 65-byte signature'),
  })
  .refine(isNativeOnly, { path: ['native'], error: 'Only a program with the runtime "native" has that' })
  .refine(isRecordable, { path: ['record'], error: whyNotRecordable })

/** A deployment spec: program, limits, env and policy under the owner's signature. */
export type DeploymentSpec = z.output<typeof specSchema>

/** A spec that nobody has signed yet. */
export type DeploymentDraft = Omit<DeploymentSpec, 'signature'>

/** All fields but the signature; JSON carries amounts as decimal strings. */
export function draftToJson({ signature: _, ...draft }: DeploymentDraft & { signature?: string }): Json {
  return JSON.parse(
    JSON.stringify(draft, (_key, value) => (typeof value === 'bigint' ? value.toString() : value)),
  ) as Json
}

function deploymentMessage(draft: DeploymentDraft) {
  return {
    types: { Deployment: typedDataTypes.Deployment },
    primaryType: 'Deployment',
    domain: marketDomain(draft),
    message: {
      owner: draft.owner,
      program: draft.program,
      runtime: draft.runtime,
      specDigest: hashDraft(draft),
    },
  } as const
}

/** SHA-256 of the canonical JSON of all fields but the signature: what makes the signature cover every field. */
export function hashDraft(draft: DeploymentDraft): Hex {
  return toHex(sha256(encodeCanonicalJson(draftToJson(draft))))
}

/** Reads what is kept of a draft by whoever made it. @returns undefined where it is none */
export function readDraft(json: unknown): DeploymentDraft | undefined {
  const parsed = draftSchema.safeParse(json)
  return parsed.success ? parsed.data : undefined
}

/** Signs a draft. @throws ProtocolError `deployment_invalid` for a draft that a provider would refuse. */
export async function signDeployment(draft: DeploymentDraft, owner: LocalAccount): Promise<DeploymentSpec> {
  const signature = await owner.signTypedData(deploymentMessage(draft))
  return parseDeployment(formatDeployment({ ...draft, signature }))
}

/** The bytes that go to IPFS (sealed or not): canonical JSON. */
export function formatDeployment(spec: DeploymentSpec): Uint8Array {
  return encodeCanonicalJson({ ...(draftToJson(spec) as Params), signature: spec.signature })
}

/**
 * Reads a spec from outside; says nothing yet about who signed it.
 *
 * @throws ProtocolError `deployment_invalid`
 */
export function parseDeployment(bytes: Uint8Array): DeploymentSpec {
  const invalid = (detail: string) =>
    new ProtocolError('deployment_invalid', `The deployment spec is not valid: ${detail}`, {
      hint: 'Deploy the program again with "khachapuri deploy".',
    })
  if (bytes.byteLength > limits.specBytesMax) throw invalid(`it has more than ${limits.specBytesMax} bytes.`)
  const parsed = specSchema.safeParse(parseJson(bytes))
  if (!parsed.success) throw invalid(describeIssues(parsed.error))
  const reason =
    explainNoEgress(parsed.data.runtime, parsed.data.limits.egress) ??
    explainNoActivations(parsed.data) ??
    explainNoEnv(parsed.data)
  if (reason !== undefined) throw invalid(reason)
  return parsed.data
}

/**
 * A programId says what runs and with which params, and nothing of an env: whoever deploys the same program with secrets of its
 * own choice could have it say what it likes, in the name of all who deployed it.
 */
export function explainNoEnv({
  env,
  capabilities,
}: Pick<DeploymentSpec, 'env' | 'capabilities'>): string | undefined {
  if (!canAttest({ capabilities }) || Object.keys(env).length === 0) return undefined
  return 'A program that attests has no env: what it says would depend on what its programId does not name.'
}

/**
 * Holds a spec against the market that it must belong to and against its owner's signature.
 *
 * @throws ProtocolError `deployment_wrong_chain`, `signature_invalid`
 */
export async function verifyDeployment(spec: DeploymentSpec, market: Market): Promise<void> {
  if (spec.chainId !== market.chainId || spec.escrow !== market.escrow) {
    throw new ProtocolError(
      'deployment_wrong_chain',
      `The deployment belongs to chain ${spec.chainId} and escrow ${spec.escrow}, not to chain ${market.chainId} and escrow ${market.escrow}.`,
      { hint: 'Deploy it again for the chain that this provider works on.' },
    )
  }
  const signer = await recoverTypedDataAddress({
    ...deploymentMessage(spec),
    signature: spec.signature as Hex,
  }).catch(() => undefined)
  if (signer !== spec.owner) {
    throw new ProtocolError('signature_invalid', `The signature is not that of the owner ${spec.owner}.`, {
      hint: 'Some field was changed after signing, or somebody else signed: deploy it again.',
    })
  }
}
