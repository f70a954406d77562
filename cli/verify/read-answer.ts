import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import type { CallAttempt } from '../../protocol/call-attempt.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseSignedReceipt } from '../../protocol/read-receipt.ts'
import { receiptPrefix, type SignedReceipt } from '../../protocol/signed-receipt.ts'
import { usdcFromJson } from '../../protocol/usdc.ts'
import type { Evidence } from '../../protocol/verify-receipt.ts'
import { readKeptAttempts } from './read-attempts.ts'

/** A receipt, and what came with it. */
export interface ReceivedReceipt {
  readonly signed: SignedReceipt
  readonly evidence: Evidence
  /** To whom the call was offered, where the head says that these were several. */
  readonly attempts?: readonly CallAttempt[]
}

/**
 * Reads a receipt from whatever somebody kept: its word alone, the JSON of `/_/receipts/<call>`, or the head of an answer
 * as `curl -D` and `curl -i` write it, the latter with the body.
 *
 * @throws ProtocolError `receipt_invalid`
 */
export function readKeptReceipt(bytes: Uint8Array): ReceivedReceipt {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  const trimmed = text.trim()
  if (trimmed.startsWith(`${receiptPrefix}.`)) return { signed: parseWord(trimmed), evidence: {} }
  if (trimmed.startsWith('{')) return { signed: parseWord(wordInJson(trimmed)), evidence: {} }
  const { status, headers, bodyOffset } = readLastHead(text)
  const attempts = readKeptAttempts(bytes.subarray(0, bodyOffset))
  const trailers = headers.has(callHeaders.receipt) ? undefined : readTrailers(text.slice(bodyOffset))
  const { signed, evidence } = readHead(status, (name) => headers.get(name) ?? trailers?.get(name))
  const body = bytes.subarray(bodyOffset)
  const hasBody = body.byteLength > 0 && !trailers
  return {
    signed,
    attempts,
    evidence: { ...evidence, ...(hasBody && { responseDigest: toHex(sha256(body)) }) },
  }
}

/** What the head of an answer says of its call. @throws ProtocolError `receipt_invalid` */
export function readHead(
  status: number | undefined,
  header: (lowerName: string) => string | undefined,
): ReceivedReceipt {
  const word = header(callHeaders.receipt)
  if (word === undefined) {
    throw invalid(
      'There is no Khachapuri-Receipt in it.',
      'Behind an answer that streams it is a trailer, and gets lost easily: fetch /_/receipts/<call> of its provider, where <call> is its Khachapuri-Call.',
    )
  }
  const price = header(callHeaders.price)
  const callId = header(callHeaders.call)
  const digest = /^sha-256=:([A-Za-z0-9+/]{43}=):$/.exec(header('content-digest') ?? '')?.[1]
  return {
    signed: parseWord(word),
    evidence: {
      status,
      ...(callId !== undefined && { callId: callId as `0x${string}` }),
      priceUsdc: usdcFromJson(price),
      ...(digest !== undefined && { responseDigest: toHex(Buffer.from(digest, 'base64')) }),
    },
  }
}

/** @throws ProtocolError `receipt_invalid` */
export function parseWord(word: string): SignedReceipt {
  const signed = parseSignedReceipt(word.trim())
  if (signed) return signed
  throw invalid(
    `This is no receipt: ${receiptPrefix}.<Base64url>.`,
    'Take the whole Khachapuri-Receipt header of an answer, or "signed" of /_/receipts/<call>.',
  )
}

function wordInJson(text: string): string {
  try {
    const { signed } = JSON.parse(text) as { signed?: unknown }
    if (typeof signed === 'string') return signed
  } catch {
    // Said below.
  }
  throw invalid('There is no "signed" in this JSON.', 'Fetch /_/receipts/<call> of the provider.')
}

/** The last of the heads: curl writes those of 100 Continue and of redirects, too. */
function readLastHead(text: string): {
  readonly status: number | undefined
  readonly headers: ReadonlyMap<string, string>
  readonly bodyOffset: number
} {
  let bodyOffset = 0
  let status: number | undefined
  let headers = new Map<string, string>()
  for (;;) {
    const [, code] = /^HTTP\/[\d.]+ (\d{3})/.exec(text.slice(bodyOffset, bodyOffset + 20)) ?? []
    if (code === undefined) return { status, headers, bodyOffset }
    const end = /\r?\n\r?\n|$/.exec(text.slice(bodyOffset))
    const length = end?.index ?? 0
    const lines = text
      .slice(bodyOffset, bodyOffset + length)
      .split(/\r?\n/)
      .slice(1)
    status = Number(code)
    headers = readFields(lines)
    bodyOffset += length + (end?.[0].length ?? 0)
  }
}

/** What `curl -D` writes behind the head of an answer with trailers. @returns undefined for anything else, such as a body */
function readTrailers(text: string): ReadonlyMap<string, string> | undefined {
  const lines = text.trimEnd().split(/\r?\n/)
  return lines.every((line) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]+:/.test(line)) ? readFields(lines) : undefined
}

const readFields = (lines: readonly string[]) =>
  new Map(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )

const invalid = (message: string, hint: string) => new ProtocolError('receipt_invalid', message, { hint })
