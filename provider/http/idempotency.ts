import type { Hex } from 'viem'
import { sha256, toHex, utf8 } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { passTokenOf } from '../../protocol/pass.ts'

/** @throws ProtocolError `bad_request` for a key that is empty or too long */
export function readIdempotencyKey({ headers }: Pick<IncomingRequest, 'headers'>): string | undefined {
  const key = headers['idempotency-key']
  if (key === undefined) return undefined
  if (typeof key === 'string' && key.length > 0 && key.length <= limits.idempotencyKeyBytesMax) return key
  throw new ProtocolError(
    'bad_request',
    'The Idempotency-Key is empty, too long, or there is more than one.',
    {
      hint: `Send one key of 1 to ${limits.idempotencyKeyBytesMax} characters, such as a UUID.`,
    },
  )
}

/** Where a program looks for who is calling. */
const credentialHeaders = ['authorization', 'cookie', 'x-api-key'] as const

/**
 * What makes two requests under one key the same: what is asked, and who asks. Callers whom an owner pays for share its
 * keys, and none may read another's answer by guessing a key. A pass does not count: the program never sees it, and a
 * repetition may come with a newer one.
 */
export function fingerprintRequest(requestDigest: Hex, { headers }: Pick<IncomingRequest, 'headers'>): Hex {
  const credentials = credentialHeaders.map((name) => {
    const value = headers[name]
    return typeof value === 'string' && passTokenOf(value) !== undefined ? null : (value ?? null)
  })
  return toHex(sha256(utf8.encode(JSON.stringify([requestDigest, credentials]))))
}
