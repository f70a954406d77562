import { callHeaders } from '../../protocol/call.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { fetchWhole } from '../../protocol/http/fetch-whole.ts'
import { headerValues } from '../../protocol/http/headers.ts'
import type { RawHeaders, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderName } from '../../protocol/name.ts'
import { type Ballot, formatBallot, swarmHeaders } from '../../protocol/swarm/ballot.ts'
import type { SwarmWays } from '../../protocol/swarm/count-votes.ts'
import { formatProof, revealPath } from '../../protocol/swarm/reveal.ts'
import { parseVote } from '../../protocol/swarm/vote.ts'
import type { VoucherSet } from '../../protocol/voucher-set.ts'
import type { ProviderRoutes } from '../proxy/provider-routes.ts'
import { withVoucherFor } from '../routing/own-voucher.ts'

/** A member that was drawn; `provider` is undefined where this gateway does not know how to reach it. */
export interface SwarmSeat {
  readonly name: ProviderName['name']
  readonly address: ProviderName['address']
  readonly provider: ProviderName | undefined
}

export interface MemberWaysDeps {
  readonly routes: Pick<ProviderRoutes, 'routeTo'>
  /** Whether this gateway passes a call on to this provider now; its limit counts the question. */
  readonly admitProvider: (provider: ProviderName) => boolean
}

export interface BallotRequest {
  readonly ballot: Ballot
  readonly method: string
  readonly target: string
  /** End-to-end ones, `host` first. */
  readonly rawHeaders: RawHeaders
  readonly body: Buffer
  /** `Host` for a provider that is reached by a tunnel. */
  readonly host: string
  /** Where the caller pays by vouchers: each member sees its own, and who has none is not asked. */
  readonly vouchers?: VoucherSet | undefined
}

/** How a gateway asks the members of a swarm: over the same routes as any call. */
export function createMemberWays(
  { routes, admitProvider }: MemberWaysDeps,
  { ballot, method, target, rawHeaders, body, host, vouchers }: BallotRequest,
): SwarmWays<SwarmSeat> {
  const routeTo = ({ provider, name }: SwarmSeat) => {
    if (provider) return routes.routeTo(provider)
    throw new ProtocolError('provider_offline', `This gateway does not know how to reach ${name}.`, {
      hint: 'Call it by its name once.',
    })
  }
  const headers = withoutOwn(rawHeaders)

  return {
    async ask(seat, signal) {
      const route = routeTo(seat)
      const shown = vouchers ? withVoucherFor(headers, vouchers, seat.address) : headers
      if (seat.provider && !admitProvider(seat.provider)) throw tooMany(seat)
      const request: UpstreamRequest = {
        method,
        target,
        rawHeaders: [
          ...['host', route.host ?? host, ...shown.slice(2), swarmHeaders.ballot, formatBallot(ballot)],
          ...(body.length > 0 ? ['content-length', String(body.length)] : []),
        ],
        ...(body.length > 0 && { body }),
      }
      const answer = await fetchWhole(route.upstream, request, limits.ballotProofBytesMax, signal)
      const [word] = headerValues(answer.rawHeaders, swarmHeaders.vote)
      const vote = answer.status === 202 && word !== undefined ? parseVote(word) : undefined
      if (vote) return vote
      throw refusalOf(answer.body) ?? noVote(seat)
    },

    async reveal(seat, { vote, votes, wantsBody }, signal) {
      const route = routeTo(seat)
      const proof = Buffer.from(formatProof({ votes: [...votes], body: wantsBody }))
      const answer = await fetchWhole(
        route.upstream,
        {
          method: 'POST',
          target: `${revealPath}${vote.vote.callId}`,
          rawHeaders: [
            ...['host', route.host ?? host, 'content-type', 'application/json'],
            ...['content-length', String(proof.length)],
          ],
          body: proof,
        },
        limits.ballotAnswerBytesMax,
        signal,
      )
      const [receipt] = headerValues(answer.rawHeaders, callHeaders.receipt)
      if (receipt === undefined) throw refusalOf(answer.body) ?? noVote(seat)
      return { ...answer, receipt }
    },
  }
}

/** What members are asked with is this gateway's to say. */
function withoutOwn(rawHeaders: RawHeaders): string[] {
  const kept: string[] = []
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] as string
    if (!own.has(name.toLowerCase())) kept.push(name, rawHeaders[index + 1] as string)
  }
  return kept
}

const own: ReadonlySet<string> = new Set([swarmHeaders.swarm, swarmHeaders.ballot, 'content-length'])

function refusalOf(body: Uint8Array): ProtocolError | undefined {
  const problem = parseProblem(parseJson(body))
  return problem && new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
}

const noVote = ({ name }: SwarmSeat) =>
  new ProtocolError('provider_answer_invalid', `${name} does not vote.`, {
    hint: 'Its version is older than swarms are; or it lies.',
  })

const tooMany = ({ name }: SwarmSeat) =>
  new ProtocolError('too_many_requests', `${name} has as many calls from here as it may.`, {
    hint: 'Send it again later.',
  })
