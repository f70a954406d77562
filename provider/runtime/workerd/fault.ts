import type { RawHeaders } from '../../../protocol/http/upstream.ts'
import { cleanMessage } from '../clean-message.ts'
import type { Fault } from '../instance.ts'
import { faultCodes } from '../runtime.ts'

/** Header by which a wrapper tells a fault; the value opens with the token of the process, so none can be forged. */
export const faultHeader = 'khachapuri-fault'

/** Reads the wrapper's word that the program failed. @returns undefined for an answer of the program. */
export function readFault(status: number, rawHeaders: RawHeaders, token: string): Fault | undefined {
  if (status !== 500) return undefined
  if (isEngineError(rawHeaders)) return { kind: 'crashed', message: 'It ended without an answer.' }
  const index = rawHeaders.findIndex((name, i) => i % 2 === 0 && name.toLowerCase() === faultHeader)
  const [given, kind, message = ''] = rawHeaders[index + 1]?.split(' ') ?? []
  if (index < 0 || given !== token) return undefined
  const what = cleanMessage(decode(message))
  if (kind === 'output_invalid') return { kind, message: what }
  // No fault of the program: the provider could not sign.
  if (kind === 'attest_busy') return { kind: 'stopped', message: what }
  return { kind: 'crashed', message: what, code: faultCodes.find((code) => code === kind) }
}

/**
 * workerd's own "Internal Server Error", for a promise that can no longer settle or a response that was used up: it
 * has a length and nothing else, while a `Response` with a text has a type, too.
 */
function isEngineError(rawHeaders: RawHeaders): boolean {
  return (
    rawHeaders.length === 2 && rawHeaders[1] === '21' && rawHeaders[0]?.toLowerCase() === 'content-length'
  )
}

/** What workerd wrote when a program failed before it could answer, in one line. */
export function findStartError(errorTail: string): string | undefined {
  const found = /Uncaught ([^\n]*)(?:\n\s+at program\/([^\n]*))?/.exec(errorTail)
  if (!found) return undefined
  return cleanMessage(found[2] ? `${found[1]} (${found[2]})` : found[1]!)
}

/** Whether V8 itself gave up for memory; the kernel is asked elsewhere. */
export function isHeapExhausted(errorTail: string): boolean {
  return /V8 fatal error; .*(?:heap|memory)|Fatal (?:JavaScript|process) out of memory/i.test(errorTail)
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
