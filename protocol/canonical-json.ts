import canonicalize from 'canonicalize'
import { utf8 } from './base/bytes.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }

/** The one form in which JSON is hashed and signed: RFC 8785 (JCS), as UTF-8. */
export function encodeCanonicalJson(value: Json): Uint8Array {
  const text = canonicalize(value)
  if (text === undefined) {
    throw new ProtocolError('bad_request', 'The value has no JSON form.', { hint: 'Use plain JSON values.' })
  }
  return utf8.encode(text)
}

/**
 * Reads JSON from outside, bounded in depth.
 *
 * @returns undefined for what is not JSON or nests deeper than `limits.jsonDepthMax`.
 */
export function parseJson(bytes: Uint8Array): Json | undefined {
  try {
    const text = utf8.decode(bytes)
    if (nestsDeeperThan(text, limits.jsonDepthMax)) return undefined
    return JSON.parse(text) as Json
  } catch {
    return undefined
  }
}

/** Counts brackets outside strings before anything recursive sees the text. */
function nestsDeeperThan(text: string, depthMax: number): boolean {
  let depth = 0
  let isInString = false
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i]
    if (isInString) {
      if (char === '\\') i += 1
      else if (char === '"') isInString = false
    } else if (char === '"') isInString = true
    else if (char === '{' || char === '[') {
      depth += 1
      if (depth > depthMax) return true
    } else if (char === '}' || char === ']') depth -= 1
  }
  return false
}
