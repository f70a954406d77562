import { readBounded, sha256, toHex } from '../../protocol/base/bytes.ts'
import { hashRequest } from '../../protocol/call.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { type CID, digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { formatSwarmTerms, type SwarmTerms, swarmHeaders } from '../../protocol/swarm/ballot.ts'
import { readSwarmHead, type SwarmProof } from '../../protocol/swarm/proof.ts'
import type { CallRequest } from '../call/request.ts'
import { openHttp } from '../http.ts'

/** An answer of a swarm with all that came with it. */
export interface SwarmAnswer {
  readonly proof: SwarmProof
  readonly body: Uint8Array
  /** What was refused, where no answer won. */
  readonly refusal: ProtocolError | undefined
}

/** Has a gateway ask the members. @throws ProtocolError what it refuses with, `swarm_invalid` */
export async function callByGateway(
  { url, method, headers, body }: CallRequest,
  terms: SwarmTerms,
  signal: AbortSignal,
): Promise<SwarmAnswer> {
  const asked = { ...headers, [swarmHeaders.swarm]: formatSwarmTerms(terms) }
  const response = await openHttp({ url, method, headers: asked, ...(body && { body }) }, signal)
  const answer = await readBounded(response, 2 * limits.ballotAnswerBytesMax)
  if (!answer) throw noSwarm('The answer is longer than that of a swarm can be.')
  const problem = (response.statusCode ?? 0) >= 400 ? parseProblem(parseJson(answer)) : undefined
  const { code, detail, hint, ...details } = problem ?? {}
  const refusal =
    code && detail !== undefined && hint !== undefined
      ? new ProtocolError(code, detail, { hint, details })
      : undefined
  const head = readSwarmHead((name) => response.headersDistinct[name] ?? [])
  if (!head) throw refusal ?? noSwarm('The answer is not that of a swarm.')
  const cid = cidOf(url)
  const target = cid ? targetAfterCid(url) : `${url.pathname}${url.search}`
  const bodyDigest = sha256(body ?? new Uint8Array())
  return {
    body: answer,
    // The program's own errors are answers.
    refusal: code === 'no_consensus' ? refusal : undefined,
    proof: {
      ...head,
      status: response.statusCode ?? 0,
      bodyDigest: toHex(sha256(answer)),
      requestDigest: toHex(Buffer.from(hashRequest({ method, target, bodyDigest }).slice(2), 'hex')),
      deployment: cid && toHex(digestOfCid(cid)),
    },
  }
}

/** The deployment that a URL begins with; none where it is called by a name. */
export function cidOf({ pathname }: URL): CID | undefined {
  const [, first = ''] = pathname.split('/')
  if (first.length < 46) return undefined
  return parseContentCid(first)
}

export function targetAfterCid({ pathname, search }: URL): string {
  const rest = pathname.slice(1).replace(/^[^/]*/, '')
  return `${rest.startsWith('/') ? rest : `/${rest}`}${search}`
}

const noSwarm = (message: string) =>
  new ProtocolError('swarm_invalid', message, {
    hint: 'Call http://any.<gateway>/<cid>/ or the name of a deployment; an older gateway runs no swarms.',
  })
