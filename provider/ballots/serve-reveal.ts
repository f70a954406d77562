import { readBounded, sha256 } from '../../protocol/base/bytes.ts'
import { formatContentDigest } from '../../protocol/call.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { parseProof, revealPath } from '../../protocol/swarm/reveal.ts'
import type { Ballots } from './ballots.ts'

/**
 * Gives the answer to a ballot to whoever shows the votes: as the program gave it, with the receipt; 204 with the receipt alone for whom
 * that is enough.
 *
 * @throws ProtocolError as `Ballots.reveal`; `method_not_allowed`, `ballot_invalid`
 */
export async function serveReveal(
  ballots: Pick<Ballots, 'reveal'>,
  request: IncomingRequest,
  response: OutgoingResponse,
): Promise<void> {
  if (request.method !== 'POST')
    throw new ProtocolError('method_not_allowed', 'Votes are shown by POST.', { hint: 'See docs/swarms.md.' })
  const callId = (request.url ?? '').slice(revealPath.length)
  const bytes = await readBounded(request, limits.ballotProofBytesMax)
  const proof = bytes && parseProof(parseJson(bytes))
  if (!proof)
    throw new ProtocolError('ballot_invalid', 'This does not show votes.', {
      hint: 'Send {"votes": ["kvt1.…"], "body": true}.',
    })
  const { answer, callHeaders, booked } = await ballots.reveal(callId, proof.votes)
  if (booked.refusal) throw booked.refusal
  const ours = [...callHeaders, ...booked.headers]
  if (!proof.body) {
    response.writeHead(204, ours)
    response.end()
    return
  }
  const { status, rawHeaders, body } = answer
  const own = withoutFraming(rawHeaders)
  response.writeHead(status, [
    ...own,
    ...ours,
    'content-digest',
    formatContentDigest(sha256(body)),
    'content-length',
    String(body.length),
  ])
  response.end(body)
}

function withoutFraming(rawHeaders: readonly string[]): string[] {
  const kept: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (!framing.has(name.toLowerCase())) kept.push(name, rawHeaders[index + 1] as string)
  }
  return kept
}

const framing: ReadonlySet<string> = new Set(['content-length', 'content-digest'])
