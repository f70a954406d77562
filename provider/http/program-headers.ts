import { headerValues, hopByHopHeaders, khachapuriPrefix } from '../../protocol/http/headers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import { passTokenOf } from '../../protocol/pass.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import { x402Headers } from '../../protocol/x402.ts'

/**
 * Whose the headers of x402 are: the provider's where it takes payments of callers; else the program's, which may well
 * ask for payments of its own.
 */
export const isPaymentHeader = (lowerName: string): boolean => paymentHeaders.has(lowerName)
export const isNobodys = (): boolean => false
const paymentHeaders: ReadonlySet<string> = new Set(Object.values(x402Headers))

/**
 * What the program gets of the caller's headers: all but hop-by-hop ones, and neither pass nor voucher: they are money. Its `Host`, and
 * so the `request.url` that it sees, is the one that the caller called, behind a gateway, too.
 */
export function toProgramHeaders(rawHeaders: RawHeaders, isOurs: (lowerName: string) => boolean): string[] {
  const kept: string[] = []
  const [calledHost] = headerValues(rawHeaders, 'x-forwarded-host')
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    const value = rawHeaders[i + 1] as string
    const lowerName = name.toLowerCase()
    if (hopByHopHeaders.has(lowerName) || lowerName === 'expect' || isOurs(lowerName)) continue
    if (lowerName === voucherHeader) continue
    if (lowerName === 'authorization' && passTokenOf(value) !== undefined) continue
    kept.push(name, lowerName === 'host' ? (calledHost ?? value) : value)
  }
  return kept
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
