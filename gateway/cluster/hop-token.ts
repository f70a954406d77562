import { createHmac, timingSafeEqual } from 'node:crypto'
import { type Address, getAddress, isAddress } from 'viem'
import { limits } from '../../protocol/limits.ts'

/** What one gateway asks another to pass on. */
export interface Hop {
  readonly provider: Address
  readonly method: string
  /** Path and query. */
  readonly target: string
}

/**
 * Proves that a request comes from a gateway of the same cluster, for a moment and for this request only: nothing that a
 * caller says can be taken for it.
 *
 * @param secret - Shared by the cluster and by nobody else.
 */
export function formatHopToken(secret: Uint8Array, hop: Hop, nowMs: number): string {
  const untilMs = nowMs + limits.hopAgeMsMax / 2
  return `1.${hop.provider.toLowerCase()}.${untilMs}.${mac(secret, hop, untilMs).toString('base64url')}`
}

/** @returns the provider, or undefined for everything that no gateway of the cluster has said of this request just now. */
export function verifyHopToken(
  secret: Uint8Array,
  request: { readonly token: string; readonly method: string; readonly target: string },
  nowMs: number,
): Address | undefined {
  const [, account = '', until = '', given = ''] =
    /^1\.(0x[0-9a-f]{40})\.(\d{1,15})\.([\w-]{43})$/.exec(request.token) ?? []
  const untilMs = Number(until)
  if (!isAddress(account) || untilMs < nowMs || untilMs > nowMs + limits.hopAgeMsMax) return undefined
  const provider = getAddress(account)
  const expected = mac(secret, { ...request, provider }, untilMs)
  const bytes = Buffer.from(given, 'base64url')
  return bytes.length === expected.length && timingSafeEqual(bytes, expected) ? provider : undefined
}

function mac(secret: Uint8Array, { provider, method, target }: Hop, untilMs: number): Buffer {
  // Methods and targets have no line ends.
  const text = ['khachapuri hop 1', provider.toLowerCase(), untilMs, method, target].join('\n')
  return createHmac('sha256', secret).update(text).digest()
}
