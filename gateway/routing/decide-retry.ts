import { callHeaders } from '../../protocol/call.ts'
import { type ErrorCode, ProtocolError, problemType } from '../../protocol/errors.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name } from '../../protocol/name.ts'

/** Failures by which nobody can tell whether the provider is in order: the caller's doing. */
export const isCallersFault = (code: ErrorCode): boolean =>
  code === 'bad_request' || code === 'headers_too_large' || code === 'body_too_large'

/**
 * Whether an answer may be a refusal from before anything ran. What a program answers, however it looks, carries the id of
 * its call, which no program can take off; so no charged answer is taken for one.
 */
export function mayBeRefusal(status: number, rawHeaders: RawHeaders): boolean {
  if (status < 400) return false
  let isProblem = false
  let lengthBytes = -1
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!.toLowerCase()
    const value = rawHeaders[index + 1]!
    if (name === callHeaders.call) return false
    if (name === 'content-type') isProblem = value.toLowerCase().split(';', 1)[0]?.trim() === problemType
    else if (name === 'content-length') lengthBytes = Number(value)
  }
  return isProblem && lengthBytes > 0 && lengthBytes <= limits.problemBytesMax
}

/** Failures after which nobody knows what became of a call that its provider had. */
const silences: ReadonlySet<string | undefined> = new Set<ErrorCode>([
  'provider_unreachable',
  'tunnel_lost',
  'call_timeout',
  'call_stalled',
])

export const isSilence = (code: string | undefined): boolean => silences.has(code)

/** Why a call goes to nobody else, where its provider had it and did not answer; any other failure says itself what it is. */
export function explainDoubt(error: ProtocolError, provider: Name): ProtocolError {
  if (!isSilence(error.code)) return error
  return new ProtocolError(
    'call_in_doubt',
    `${provider} had the call and did not answer (${error.code}): it may have run and charged for it.`,
    {
      hint: 'Nobody else was asked, so it is charged once at most. See "khachapuri statement" before you send it again.',
      details: { provider, cause: error.code },
      cause: error,
    },
  )
}
