import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { hashRequest } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import { parseHttpUrl } from '../market/market.ts'
import { programTarget } from './program-target.ts'
import { type ReceivedReceipt, readHead, readKeptReceipt } from './read-answer.ts'

/**
 * Calls a URL once, and gives the receipt of its answer with all that was seen of it; of a page of receipts, what it shows.
 *
 * @throws ProtocolError `receipt_invalid` where there is none, `content_too_large`
 */
export async function fetchReceipt(text: string, { signal }: CommandContext): Promise<ReceivedReceipt> {
  const url = parseHttpUrl('url', text)
  const { status, headers, body } = await requestHttp({ url, bytesMax: limits.responseBodyBytesMax }, signal)
  if (url.pathname.startsWith('/_/receipts/')) return readKeptReceipt(body)
  const { signed, evidence } = readHead(status, (name) => {
    const value = headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  })
  const target = programTarget(`${url.pathname}${url.search}`, signed.receipt.deployment)
  const bodyDigest = sha256(new Uint8Array())
  return {
    signed,
    evidence: {
      ...evidence,
      responseDigest: toHex(sha256(body)),
      requestDigest: hashRequest({ method: 'GET', target, bodyDigest }),
    },
  }
}
