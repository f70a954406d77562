import type { Hex } from 'viem'
import { z } from 'zod'
import { sha256, toHex } from '../base/bytes.ts'
import { encodeCanonicalJson, type Json, parseJson } from '../canonical-json.ts'
import { limits } from '../limits.ts'

/**
 * What makes two answers the same, as a deployment says: the status in any case, these headers, and of a JSON body these
 * fields, as JSON pointers (RFC 6901). All of the body where no fields are named, or where it is not JSON.
 */
export const compareRuleSchema = z.strictObject({
  headers: z
    .array(z.string().regex(/^[a-z0-9-]{1,64}$/, 'Expected a header name in lower case'))
    .max(limits.compareEntriesMax)
    .optional(),
  fields: z
    .array(
      z
        .string()
        .max(256)
        .regex(/^(?:\/(?:[^~]|~[01])*)?$/, 'Expected a JSON pointer such as /price'),
    )
    .min(1)
    .max(limits.compareEntriesMax)
    .optional(),
})
export type CompareRule = z.output<typeof compareRuleSchema>

/** What is compared unless the deployment says otherwise. */
export const headersComparedDefault = ['content-type', 'location'] as const

export interface ComparedAnswer {
  readonly status: number
  /** Names and values in turn. */
  readonly rawHeaders: readonly string[]
  readonly body: Uint8Array
}

/** SHA-256 over the canonical JSON of what takes part: equal digests are equal answers. */
export function digestAnswer({ status, rawHeaders, body }: ComparedAnswer, rule: CompareRule = {}): Hex {
  const names = [...new Set(rule.headers ?? headersComparedDefault)].sort()
  const headers = names.map((name): Json => [name, ...valuesOf(rawHeaders, name)])
  const json = rule.fields && parseJson(body)
  const content: Json =
    json === undefined || !rule.fields
      ? { body: toHex(sha256(body)) }
      : // In an array, so that a field that is not there differs from one that is null.
        { fields: [...new Set(rule.fields)].sort().map((path): Json => [path, ...readPointer(json, path)]) }
  return toHex(sha256(encodeCanonicalJson({ status, headers, ...content })))
}

function valuesOf(rawHeaders: readonly string[], lowerName: string): string[] {
  const values: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]!.toLowerCase() === lowerName) values.push(rawHeaders[index + 1]!)
  }
  return values
}

/** @returns the value as the one element, or nothing where there is none */
function readPointer(json: Json, pointer: string): [] | [Json] {
  let value: Json = json
  for (const part of pointer.split('/').slice(1)) {
    const key = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return []
    value = (value as Readonly<Record<string, Json>>)[key] as Json
  }
  return [value]
}
