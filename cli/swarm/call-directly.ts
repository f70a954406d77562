import { randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { getAddress } from 'viem'
import { readBounded, sha256, toHex } from '../../protocol/base/bytes.ts'
import { callHeaders, hashRequest } from '../../protocol/call.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { createSeedBlocks } from '../../protocol/chain/seed-blocks.ts'
import { ProtocolError, parseProblem } from '../../protocol/errors.ts'
import { digestOfCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { formatBallot, type SwarmTerms, swarmHeaders } from '../../protocol/swarm/ballot.ts'
import { noConsensus, runSwarm, type SwarmWays } from '../../protocol/swarm/count-votes.ts'
import { formatProof, revealPath } from '../../protocol/swarm/reveal.ts'
import { hashCandidates, selectionSeed, selectMembers } from '../../protocol/swarm/select-members.ts'
import { createDelegationChecks, parseVote } from '../../protocol/swarm/vote.ts'
import type { SignedPayment } from '../call/payment.ts'
import type { CallRequest } from '../call/request.ts'
import { type CommandContext, usageError } from '../command.ts'
import { openHttp } from '../http.ts'
import type { OpenMarket } from '../market/open.ts'
import { readOrigins } from '../market/provider-origin.ts'
import { type ResolvedProvider, readProvider } from '../market/resolve-provider.ts'
import { cidOf, type SwarmAnswer, targetAfterCid } from './call-swarm.ts'

export interface DirectSwarm {
  readonly terms: SwarmTerms
  /** Of all providers that the deployment names. */
  readonly names: readonly string[]
  readonly payment: SignedPayment
}

interface DirectMember extends ResolvedProvider {
  /** Where it is asked: its own address, or the gateway of its tunnel. */
  readonly origin: URL
}

/**
 * Asks the members itself and counts their votes. Who they are is read from the chain; who is behind a tunnel is asked through its gateway, which
 * can keep a vote back and make none.
 */
export async function callDirectly(
  request: CallRequest,
  { terms, names, payment }: DirectSwarm,
  opened: OpenMarket,
  context: CommandContext,
): Promise<SwarmAnswer> {
  const { clock, signal } = context
  const cid = cidOf(request.url)
  if (!cid) throw usageError('--direct needs the CID of the deployment.', 'Call http://any.<gateway>/<cid>/.')
  if (names.length === 0)
    throw usageError('--provider <name> is missing.', 'Name each provider that the deployment names.')
  const originOf = await readOrigins(opened, context)
  const candidates = await Promise.all(
    names.map(async (name): Promise<DirectMember> => {
      const provider = await readProvider(name, opened, context)
      return { ...provider, origin: originOf(provider) }
    }),
  )
  if (terms.members > candidates.length) {
    throw new ProtocolError('swarm_too_large', `${terms.members} of ${candidates.length} cannot be asked.`, {
      hint: 'Name more providers, or ask fewer.',
      details: { members: terms.members, live: candidates.length },
    })
  }
  const block = await createSeedBlocks({ client: opened.client, clock }).latest(signal)
  const deployment = toHex(digestOfCid(cid))
  const addresses = candidates.map(({ address }) => address)
  const drawn = selectMembers(selectionSeed(block.hash, deployment), addresses, terms.members)
  const members = drawn.map((address) => candidates.find((one) => one.address === address) as DirectMember)
  const ballot = { swarm: toHex(randomBytes(32)), block: block.number, ...terms }
  const { chainId, contracts } = opened.market
  const target = targetAfterCid(request.url)
  const requestDigest = hashRequest({
    method: request.method,
    target,
    bodyDigest: sha256(request.body ?? new Uint8Array()),
  })
  const result = await runSwarm(
    {
      clock,
      isDelegated: createDelegationChecks(),
      ...waysTo(
        {
          ...request,
          url: new URL(`/${cid}${target}`, request.url),
          headers: { ...request.headers, [swarmHeaders.ballot]: formatBallot(ballot) },
        },
        payment,
      ),
    },
    {
      members,
      terms,
      facts: {
        ...{ swarm: ballot.swarm, deployment, candidates: hashCandidates(addresses), requestDigest },
        ...{ blockHash: block.hash, members: terms.members, agreeing: terms.agreeing },
        market: { chainId, escrow: getAddress(contracts.escrow) },
      },
    },
    signal,
  )
  const refusal = result.answer ? undefined : noConsensus(result, terms)
  const body = result.answer?.body ?? Buffer.from(JSON.stringify(refusal?.toProblem()))
  return {
    body,
    refusal,
    proof: {
      ...{ ballot, verdict: result.verdict, candidates: addresses, members: result.members },
      status: result.answer?.status ?? refusal?.status ?? 502,
      ...{ bodyDigest: toHex(sha256(body)), requestDigest, deployment },
    },
  }
}

function waysTo(
  { url, method, headers: asked, body }: CallRequest,
  payment: SignedPayment,
): SwarmWays<DirectMember> {
  return {
    async ask({ origin, name, address }, signal) {
      const headers = { ...asked, ...payment.headersFor(address) }
      const at = new URL(`${url.pathname}${url.search}`, origin)
      const response = await openHttp({ url: at, method, headers, ...(body && { body }) }, signal)
      const bytes = await readBounded(response, limits.ballotProofBytesMax)
      const vote = response.statusCode === 202 ? parseVote(headerOf(response, swarmHeaders.vote)) : undefined
      if (vote) return vote
      throw refusalOf(bytes, name)
    },
    async reveal({ origin, name }, { vote, votes, wantsBody }, signal) {
      const response = await openHttp(
        {
          url: new URL(`${revealPath}${vote.vote.callId}`, origin),
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: Buffer.from(formatProof({ votes: [...votes], body: wantsBody })),
        },
        signal,
      )
      const bytes = await readBounded(response, limits.ballotAnswerBytesMax)
      const receipt = headerOf(response, callHeaders.receipt)
      if (!bytes || receipt === '') throw refusalOf(bytes, name)
      return { status: response.statusCode ?? 0, rawHeaders: response.rawHeaders, body: bytes, receipt }
    },
  }
}

function headerOf({ headers }: IncomingMessage, name: string): string {
  const value = headers[name]
  return typeof value === 'string' ? value : ''
}

function refusalOf(bytes: Uint8Array | undefined, name: string): ProtocolError {
  const problem = bytes && parseProblem(parseJson(bytes))
  if (problem) return new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
  return new ProtocolError('provider_answer_invalid', `${name} does not vote.`, {
    hint: 'Its version is older than swarms are; or it lies.',
  })
}
