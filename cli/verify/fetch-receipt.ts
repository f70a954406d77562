import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { callHeaders, hashRequest } from '../../protocol/call.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError, parseProblem, problemType } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { CommandContext } from '../command.ts'
import { requestHttp } from '../http.ts'
import { parseHttpUrl } from '../market/market.ts'
import { programTarget } from './program-target.ts'
import { type ReceivedReceipt, readHead, readKeptReceipt } from './read-answer.ts'

/**
 * Calls a URL once, and gives the receipt of its answer with all that was seen of it; of a page of receipts, what it shows.
 *
 * @throws ProtocolError what the network refused the call with; `receipt_invalid` where there is none, `content_too_large`
 */
export async function fetchReceipt(text: string, { signal }: CommandContext): Promise<ReceivedReceipt> {
  const url = parseHttpUrl('<url>', text)
  const { status, headers, body } = await requestHttp({ url, bytesMax: limits.responseBodyBytesMax }, signal)
  // The answer of a program that failed is such a document, too, and has a receipt.
  if (headers[callHeaders.receipt] === undefined && headers['content-type'] === problemType) {
    const problem = parseProblem(parseJson(body))
    if (problem) throw new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
  }
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
