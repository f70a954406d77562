import type { Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import type { RawHeaders, UpstreamExchange, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { swarmHeaders } from '../../protocol/swarm/ballot.ts'
import { digestAnswer } from '../../protocol/swarm/compare-answers.ts'
import { formatVote } from '../../protocol/swarm/vote.ts'
import type { Vote } from '../../protocol/swarm/vote-message.ts'
import type { Deployment } from '../deployments/deployments.ts'
import { createBodyHash } from '../http/body-hash.ts'
import type { Booked } from '../http/call-money.ts'
import { toCallerHeaders } from '../http/program-headers.ts'
import type { Ending } from '../http/relay.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { type CallOutcome, type Instance, isProgramFault, toCallError } from '../runtime/runtime.ts'
import type { Ballots, Drawn, WholeAnswer } from './ballots.ts'

export interface VoteDeps {
  readonly ballots: Ballots
  readonly signVote: Ledger['signVote']
  /** The program is done with the call. */
  readonly releasePlace: () => void
}

export interface VoteRun {
  readonly drawn: Drawn
  readonly callId: Hex
  readonly deployment: Deployment
  readonly requestDigest: Hex
  readonly instance: Instance
  readonly request: UpstreamRequest
  readonly response: OutgoingResponse
  readonly isOurs: (lowerName: string) => boolean
  /** Headers of ours that go with the vote. */
  readonly callHeaders: RawHeaders
  /** Books the call; only where `mayCharge` does that cost anything. */
  readonly book: (ending: Ending, mayCharge: boolean) => Promise<Booked>
  readonly refuse: (error: ProtocolError, rawHeaders?: RawHeaders) => void
}

/**
 * Runs the program, holds what it answers, and answers with a vote. A program's fault is no answer that could be voted for: it costs
 * nobody anything, as nobody can tell it from a provider's own.
 *
 * @returns what stops the call from outside
 */
export function runVote(
  { ballots, signVote, releasePlace }: VoteDeps,
  run: VoteRun,
): { stop(error: ProtocolError): void } {
  const { drawn, callId, deployment, instance, response, book, refuse } = run
  const hash = createBodyHash()
  const chunks: Buffer[] = []
  let bytes = 0
  let status = 499
  let rawHeaders: RawHeaders = []
  let isOver = false

  const exchange: UpstreamExchange = instance.call(run.request, {
    onHead(headStatus, headers) {
      status = headStatus
      rawHeaders = toCallerHeaders(headers, run.isOurs)
    },
    onData(chunk) {
      if (isOver) return
      bytes += chunk.length
      if (bytes > limits.ballotAnswerBytesMax) return stop(tooLarge())
      hash.update(chunk)
      chunks.push(chunk)
    },
    onEnd(outcome) {
      if (isOver) return
      isOver = true
      releasePlace()
      finish(outcome).catch((error) => refuse(toProtocolError(error)))
    },
  })

  const endingOf = (changes: Partial<Ending>): Ending => ({
    outcome: 'outvoted',
    isRefused: false,
    status,
    bodyDigest: hash.digest(),
    error: undefined,
    rawHeaders: [],
    body: undefined,
    ...changes,
  })

  async function finish(outcome: CallOutcome): Promise<void> {
    if (outcome.kind !== 'answered') {
      const error = toCallError(outcome)
      const isFault = isProgramFault(outcome)
      const { headers } = await book(
        endingOf({
          outcome: isFault ? (`program_${outcome.kind}` as Ending['outcome']) : 'platform_fault',
          isRefused: outcome.kind === 'refused',
          status: error.status,
          error,
        }),
        false,
      )
      return refuse(error, headers)
    }
    const bodyDigest = hash.digest()
    const answer: WholeAnswer = { status, rawHeaders, body: Buffer.concat(chunks) }
    const ending = endingOf({ bodyDigest })
    const release = async () => void (await book(ending, false).catch(() => undefined))
    try {
      const signed = await signVote(voteOf(answer, bodyDigest))
      ballots.hold(callId, {
        ...{ drawn, signed, answer, release, callHeaders: run.callHeaders },
        charge: () => book({ ...ending, outcome: 'answered' }, true),
      })
      const word = formatVote(signed)
      response.writeHead(202, [
        ...run.callHeaders,
        swarmHeaders.vote,
        word,
        'content-type',
        'application/json',
      ])
      response.end(JSON.stringify({ call: callId, vote: word }))
    } catch (error) {
      await release()
      throw error
    }
  }

  const voteOf = (answer: WholeAnswer, bodyDigest: Buffer): Vote => ({
    swarm: drawn.ballot.swarm,
    callId,
    programId: deployment.programId,
    deployment: deployment.digest,
    candidates: drawn.candidates,
    blockHash: drawn.blockHash,
    requestDigest: run.requestDigest,
    responseDigest: toHex(bodyDigest),
    answerDigest: digestAnswer(answer, deployment.spec.compare),
    status: answer.status,
    members: drawn.ballot.members,
    agreeing: drawn.ballot.agreeing,
  })

  /** Nobody waits for the vote, or there will be none. */
  function stop(error: ProtocolError | undefined): void {
    if (isOver) return
    isOver = true
    exchange.abort()
    chunks.length = 0
    book(endingOf({ error, status: error?.status ?? 499 }), false).then(
      ({ headers }) => error && refuse(error, headers),
      (bookError) => refuse(bookError),
    )
  }

  response.on('close', () => {
    if (!response.writableFinished) stop(undefined)
  })
  return { stop }
}

const tooLarge = () => {
  const bytesMax = limits.ballotAnswerBytesMax
  return new ProtocolError('ballot_answer_too_large', `An answer of a swarm has at most ${bytesMax} bytes.`, {
    hint: 'Call one provider, or let the program answer with a CID.',
    details: { bytesMax },
  })
}
