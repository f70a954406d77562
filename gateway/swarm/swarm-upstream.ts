import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Address } from 'viem'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { hashRequest } from '../../protocol/call.ts'
import type { SeedBlock } from '../../protocol/chain/seed-blocks.ts'
import { ProtocolError, problemType, toProtocolError } from '../../protocol/errors.ts'
import type { Upstream, UpstreamHandler, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { type CID, digestOfCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name } from '../../protocol/name.ts'
import { formatBallot, type SwarmTerms, swarmHeaders } from '../../protocol/swarm/ballot.ts'
import type { VoteChecks } from '../../protocol/swarm/check-votes.ts'
import { memberLines, noConsensus, runSwarm, type SwarmResult } from '../../protocol/swarm/count-votes.ts'
import { candidatesHeader, formatCandidates, type SwarmProof } from '../../protocol/swarm/proof.ts'
import { hashCandidates } from '../../protocol/swarm/select-members.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { VoucherSet } from '../../protocol/voucher-set.ts'
import { createMemberWays, type MemberWaysDeps, type SwarmSeat } from './member-ways.ts'

export interface SwarmUpstreamDeps extends MemberWaysDeps, Pick<VoteChecks, 'isDelegated'> {
  readonly clock: Clock
  readonly log: Log
  readonly market: Market
  /** Lies about what came of it: a fault that is injected on purpose. */
  readonly forge?: ((result: SwarmResult) => Promise<SwarmResult>) | undefined
  /** Hears of each swarm whose votes were counted. */
  readonly onCounted: (counted: CountedSwarm) => void
}

export interface CountedSwarm {
  /** What the members did, as they did it. */
  readonly result: SwarmResult
  /** What the caller is told. */
  readonly proof: SwarmProof
  readonly answeredBy: Name | undefined
}

export interface SwarmWish {
  readonly cid: CID
  readonly terms: SwarmTerms
  readonly block: SeedBlock
  readonly candidates: readonly Address[]
  readonly seats: readonly SwarmSeat[]
  readonly host: string
  /** See `BallotRequest.vouchers`. */
  readonly vouchers?: VoucherSet | undefined
}

/** For one request. */
export interface SwarmUpstream extends Upstream {
  /** Who gave the answer. */
  servedBy(): string | undefined
}

/** The members of a swarm as one upstream: the request goes to all of them, and the answer that won comes back. */
export function createSwarmUpstream(deps: SwarmUpstreamDeps, wish: SwarmWish): SwarmUpstream {
  let servedBy: string | undefined

  async function run(request: UpstreamRequest, signal: AbortSignal): Promise<Told> {
    const body = await readBody(request, signal)
    const deployment = toHex(digestOfCid(wish.cid))
    const ballot = { swarm: toHex(randomBytes(32)), block: wish.block.number, ...wish.terms }
    const facts = {
      swarm: ballot.swarm,
      deployment,
      candidates: hashCandidates(wish.candidates),
      blockHash: wish.block.hash,
      requestDigest: hashRequest({
        method: request.method,
        target: programPath(request.target),
        bodyDigest: sha256(body),
      }),
      members: wish.terms.members,
      agreeing: wish.terms.agreeing,
      market: deps.market,
    }
    const { host, vouchers } = wish
    const ways = createMemberWays(deps, { ...request, ballot, body, host, vouchers })
    const { clock, isDelegated, forge } = deps
    const counted = await runSwarm(
      { clock, isDelegated, ...ways },
      { members: wish.seats, terms: wish.terms, facts },
      signal,
    )
    const result = forge ? await forge(counted) : counted
    const { answer } = result
    deps.onCounted({
      result: counted,
      answeredBy: answer?.by,
      proof: {
        ...{ ballot, deployment, candidates: wish.candidates, requestDigest: facts.requestDigest },
        ...{ verdict: result.verdict, members: result.members, status: answer?.status ?? 502 },
        bodyDigest: answer && toHex(sha256(answer.body)),
      },
    })
    deps.log.debug('swarm_counted', { swarm: ballot.swarm, verdict: result.verdict })
    const ours = [
      ...[swarmHeaders.verdict, result.verdict, swarmHeaders.swarm, formatBallot(ballot)],
      ...[candidatesHeader, formatCandidates(wish.candidates)],
      ...memberLines(result).flatMap((line) => [swarmHeaders.member, line]),
    ]
    if (!answer) {
      const error = noConsensus(result, wish.terms)
      const problem = Buffer.from(JSON.stringify(error.toProblem()))
      return { status: error.status, rawHeaders: ['content-type', problemType, ...ours], body: problem }
    }
    servedBy = answer.by
    return { ...answer, rawHeaders: [...answer.rawHeaders, ...ours] }
  }

  return {
    servedBy: () => servedBy,
    send(request, handler) {
      const gone = new AbortController()
      run(request, gone.signal).then(
        (told) => gone.signal.aborted || tell(told, handler),
        (error) => gone.signal.aborted || handler.onError(toProtocolError(error)),
      )
      return { pause() {}, resume() {}, abort: () => gone.abort(new Error('The caller has gone.')) }
    },
  }
}

interface Told {
  readonly status: number
  readonly rawHeaders: readonly string[]
  readonly body: Uint8Array
}

function tell({ status, rawHeaders, body }: Told, handler: UpstreamHandler): void {
  const isLengthKnown = rawHeaders.some((name, i) => i % 2 === 0 && name.toLowerCase() === 'content-length')
  const length = isLengthKnown ? [] : ['content-length', String(body.byteLength)]
  handler.onHead(status, [...rawHeaders, ...length])
  if (body.byteLength > 0) handler.onData(Buffer.from(body))
  handler.onEnd()
}

/** All members get the same bytes. @throws ProtocolError `body_too_large` */
async function readBody({ body, onBodyWanted }: UpstreamRequest, signal: AbortSignal): Promise<Buffer> {
  if (body === undefined) return Buffer.alloc(0)
  if (Buffer.isBuffer(body)) return body
  onBodyWanted?.()
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of (body as Readable).iterator({
    destroyOnReturn: false,
  }) as AsyncIterable<Buffer>) {
    signal.throwIfAborted()
    bytes += chunk.length
    if (bytes > limits.swarmRequestBytesMax) throw tooLarge()
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** What the program sees: path and query after the CID. */
function programPath(target: string): string {
  const rest = target.slice(1).replace(/^[^/?]*/, '')
  return rest.startsWith('/') ? rest : `/${rest}`
}

const tooLarge = () => {
  const bytesMax = limits.swarmRequestBytesMax
  return new ProtocolError('body_too_large', `A request to a swarm has at most ${bytesMax} bytes.`, {
    hint: 'Put it on IPFS and pass its CID, or call one provider.',
    details: { bytesMax },
  })
}
