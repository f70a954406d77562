import { z } from 'zod'
import { base64url, sha256 } from './base/bytes.ts'
import { hashRequest } from './call.ts'
import { limits } from './limits.ts'
import type { RuntimeKind } from './program.ts'

/** In a spec: the input of each call is kept for so long by the provider that it was sent to. */
export const recordRuleSchema = z.strictObject({
  seconds: z.number().int().min(limits.callRecordSecondsMin).max(limits.callRecordSecondsMax),
})

/**
 * All that a recorded program was asked with: of the caller's headers it gets none. With the call's id and start, which stand in
 * its receipt, this is all that its answer can depend on, and the receipt's `requestDigest` binds every byte of it.
 */
export interface CallInput {
  readonly method: string
  /** Path and query as the program sees them. */
  readonly target: string
  readonly body: Uint8Array
}

/** Whether a deployment can be recorded: what nobody can run again needs no record. */
export function isRecordable({
  runtime,
  record,
  encrypted,
}: {
  readonly runtime: RuntimeKind
  readonly record?: unknown
  readonly encrypted?: unknown
}): boolean {
  return record === undefined || (runtime === 'wasm' && encrypted === undefined)
}

export const whyNotRecordable =
  'Only a "wasm" program that anybody can read has that: no other gives the same answer wherever it runs again'

const inputSchema = z.strictObject({
  method: z.string().regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,40}$/),
  target: z.string().max(limits.headerBytesMax).startsWith('/'),
  body: z.string().max(Math.ceil((limits.callRecordBodyBytesMax * 4) / 3)),
})

/** As `/_/receipts/<call>/record` shows it: the body in Base64url. */
export const callInputToJson = ({ method, target, body }: CallInput) => ({
  method,
  target,
  body: base64url.encode(body),
})

/** @returns undefined for anything that `callInputToJson` would not have written */
export function parseCallInput(json: unknown): CallInput | undefined {
  const parsed = inputSchema.safeParse(json)
  const body = parsed.success ? base64url.decode(parsed.data.body) : undefined
  return parsed.success && body ? { ...parsed.data, body } : undefined
}

/** The `requestDigest` of a receipt for it. */
export const hashInput = ({ method, target, body }: CallInput) =>
  hashRequest({ method, target, bodyDigest: sha256(body) })
