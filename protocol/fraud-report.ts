import { type Address, type Hex, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { z } from 'zod'
import { sha256, toHex } from './base/bytes.ts'
import { type CallInput, callInputToJson, parseCallInput } from './call-record.ts'
import { encodeCanonicalJson } from './canonical-json.ts'
import { addressSchema, hexSchema, secondsSchema } from './schema.ts'
import { type Market, marketDomain } from './typed-data.ts'

/** What an answer was: the two fields of a receipt that a replay can contradict. */
const answerSchema = z.strictObject({
  status: z.number().int().min(0).max(999),
  responseDigest: hexSchema(32),
})
export type AnswerDigest = z.output<typeof answerSchema>

const reportSchema = z.strictObject({
  version: z.literal(1),
  /** The receipt, as in its header; under this name "verify" and "replay" find it. */
  signed: z.string().max(8192),
  /** CIDs of the spec and of the program's zip. */
  deployment: z.string().max(128),
  program: z.string().max(128),
  record: z.unknown().transform((json, context): CallInput => {
    const input = parseCallInput(json)
    if (input) return input
    context.addIssue({ code: 'custom', message: 'Expected what a call was asked with' })
    return z.NEVER
  }),
  /** What the provider signed, and what the program answers. */
  said: answerSchema,
  found: answerSchema,
  /** Who ran it again, and when. */
  by: addressSchema,
  madeAt: secondsSchema,
  signature: z.string().regex(/^0x[0-9a-f]{130}$/),
})

/**
 * That a provider signed an answer which its program does not give. Nobody has to believe it: it holds all that it takes to
 * run the call again. Its signature says who answers for it.
 */
export type FraudReport = z.output<typeof reportSchema>
export type FraudReportDraft = Omit<FraudReport, 'signature'>

export const fraudReportTypes = { FraudReport: [{ name: 'digest', type: 'bytes32' }] } as const

const draftToJson = ({ record, ...draft }: FraudReportDraft) => ({
  ...draft,
  record: callInputToJson(record),
})

const message = (draft: FraudReportDraft, market: Market) =>
  ({
    types: fraudReportTypes,
    primaryType: 'FraudReport',
    domain: marketDomain(market),
    message: { digest: toHex(sha256(encodeCanonicalJson(draftToJson(draft)))) },
  }) as const

export async function signFraudReport(
  draft: FraudReportDraft,
  account: LocalAccount,
  market: Market,
): Promise<FraudReport> {
  return { ...draft, signature: await account.signTypedData(message(draft, market)) }
}

/** As it stands in a file. */
export const formatFraudReport = ({ signature, ...draft }: FraudReport): string =>
  `${JSON.stringify({ ...draftToJson(draft), signature }, null, 2)}\n`

/** @returns undefined for what is none; who signed it says `fraudReportSigner` */
export function parseFraudReport(json: unknown): FraudReport | undefined {
  const parsed = reportSchema.safeParse(json)
  return parsed.success ? parsed.data : undefined
}

export async function fraudReportSigner(
  { signature, ...draft }: FraudReport,
  market: Market,
): Promise<Address | undefined> {
  return recoverTypedDataAddress({ ...message(draft, market), signature: signature as Hex }).catch(
    () => undefined,
  )
}
