import { hash } from 'node:crypto'
import type { Hex } from 'viem'
import { recordHeaders } from '../../protocol/call.ts'
import { headerValues, hopByHopHeaders, khachapuriPrefix } from '../../protocol/http/headers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { passTokenOf } from '../../protocol/pass.ts'
import { x402Headers } from '../../protocol/x402.ts'

/**
 * Whose the headers of x402 are: the provider's where it takes payments of callers; else the program's, which may well
 * ask for payments of its own.
 */
export const isPaymentHeader = (lowerName: string): boolean => paymentHeaders.has(lowerName)
export const isNobodys = (): boolean => false
const paymentHeaders: ReadonlySet<string> = new Set(Object.values(x402Headers))

/**
 * All that a `wasm` program may know of the world beside its input: with the same record it gives the same bytes. The seed
 * comes from the call's id, and does not tell it: whoever knows the id may read the receipt, and so who paid.
 */
export interface CallRecord {
  readonly callId: Hex
  readonly startedMs: number
}

/**
 * What the program gets of the caller's headers: all but hop-by-hop ones, and neither pass nor voucher: they are money. Its `Host`, and
 * so the `request.url` that it sees, is the one that the caller called, behind a gateway, too. `Khachapuri-*` are the
 * provider's to say, in both directions.
 */
export function toProgramHeaders(
  rawHeaders: RawHeaders,
  isOurs: (lowerName: string) => boolean,
  record?: CallRecord,
): string[] {
  const kept: string[] = []
  const [calledHost] = headerValues(rawHeaders, 'x-forwarded-host')
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const value = rawHeaders[i + 1] as string
    const lowerName = name.toLowerCase()
    if (hopByHopHeaders.has(lowerName) || lowerName === 'expect' || isOurs(lowerName)) continue
    // A server may read khachapuri_seed as khachapuri-seed.
    if (lowerName.replaceAll('_', '-').startsWith(khachapuriPrefix)) continue
    if (lowerName === 'authorization' && passTokenOf(value) !== undefined) continue
    kept.push(name, lowerName === 'host' ? (calledHost ?? value) : value)
  }
  if (record) {
    const seed = hash('sha256', `khachapuri seed ${record.callId}`, 'hex')
    kept.push(recordHeaders.seed, seed, recordHeaders.started, String(record.startedMs))
  }
  return kept
}

/**
 * What a recorded program gets in place of the caller's headers: nothing that the receipt does not bind. One host, too, as each
 * gateway has another.
 */
export function toRecordedHeaders(record: CallRecord): string[] {
  return toProgramHeaders(['host', 'recorded.invalid'], isNobodys, record)
}

/**
 * What the caller gets of the program's headers: `Khachapuri-*` are the provider's to say, and `Connection` and its
 * like are never a program's affair.
 */
export function toCallerHeaders(rawHeaders: RawHeaders, isOurs: (lowerName: string) => boolean): string[] {
  const kept: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const lowerName = name.toLowerCase()
    if (hopByHopHeaders.has(lowerName) || lowerName.startsWith(khachapuriPrefix) || isOurs(lowerName))
      continue
    kept.push(name, rawHeaders[i + 1] as string)
  }
  return kept
}
