import { randomBytes } from 'node:crypto'
import type { Address, Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { callHeaders, hashRequest, isCharged } from '../../protocol/call.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import type { IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import type { Payer } from '../../protocol/payer.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { FindPayer } from '../admission/find-payer.ts'
import { withWaysToPay } from '../admission/refusals.ts'
import type { Deployment, Deployments } from '../deployments/deployments.ts'
import type { ClaimedKey, KeyClaim } from '../ledger/keys.ts'
import type { Ledger, Reservation } from '../ledger/ledger.ts'
import type { StoredAnswer } from '../ledger/records.ts'
import type { Instance } from '../runtime/runtime.ts'
import { type BodyRoom, type CallBody, openBody, readWholeBody } from './call-body.ts'
import { fingerprintRequest, readIdempotencyKey } from './idempotency.ts'
import { toProgramHeaders } from './program-headers.ts'
import { type Ending, relay } from './relay.ts'

export interface CallDeps {
  readonly clock: Clock
  readonly log: Log
  readonly deployments: Deployments
  readonly findPayer: FindPayer
  readonly grants: { grant(payer: Address): Grant | undefined }
  readonly ledger: Ledger
  /** The running program of a deployment, started if need be. */
  readonly instanceOf: (deployment: Deployment, signal: AbortSignal) => Promise<Instance>
  /** For the bodies of calls with an `Idempotency-Key`. */
  readonly bodyRoom: BodyRoom
  /** Since when the chain has not answered, and grants are the last known ones; undefined while it does. */
  readonly chainLostSinceMs: () => number | undefined
}

export interface CallOptions {
  readonly provider: Address
  readonly name: string
  readonly market: Market
  /** The price of one call now. */
  readonly priceUsdc: () => Usdc
}

export interface CallRequest {
  readonly request: IncomingRequest
  readonly response: OutgoingResponse
  readonly cid: string
  /** Path and query as the program sees them. */
  readonly target: string
  /** Says a problem to the caller, with the call's id where there is one. */
  readonly refuse: (error: ProtocolError, callId?: Hex) => void
}

/** What is known of a call before it runs. */
interface Call extends CallRequest {
  readonly id: Hex
  readonly deployment: Deployment
  readonly payer: Payer
  readonly priceUsdc: Usdc
  readonly startedAt: number
  readonly startedMs: number
}

/**
 * Runs one call, from its CID to its place in the books. Read this function first: it is the order of DESIGN's "a call,
 * step by step". Whatever throws before the program runs costs nobody anything.
 */
export async function runCall(deps: CallDeps, options: CallOptions, incoming: CallRequest): Promise<void> {
  const { request, response, cid } = incoming
  const gone = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) gone.abort(new DOMException('The caller has gone.', 'AbortError'))
  })

  const deployment = deps.deployments.peek(cid) ?? (await deps.deployments.read(cid, gone.signal))
  const priceUsdc = options.priceUsdc()
  const call: Call = {
    ...incoming,
    id: toHex(randomBytes(32)),
    deployment,
    payer: await deps.findPayer({ headers: request.headers, deployment, priceUsdc }),
    priceUsdc,
    startedAt: deps.clock.nowMs(),
    startedMs: deps.clock.monotonicMs(),
  }
  const idempotencyKey = readIdempotencyKey(request)
  if (idempotencyKey === undefined) await runStreamed(deps, options, call, gone.signal)
  else await runOnce(deps, options, call, idempotencyKey, gone.signal)
}

/** The usual way: the request's body goes to the program as it comes. */
async function runStreamed(
  deps: CallDeps,
  options: CallOptions,
  call: Call,
  signal: AbortSignal,
): Promise<void> {
  let running: RunningCall | undefined
  const body = openBody(call.request, (error) => running?.stop(error))
  call.response.once('finish', body.discardRest)
  running = await start(deps, options, call, body, undefined, signal)
}

/**
 * The way of a call with an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the body is read first,
 * because the key holds for one request only; a repetition gets the stored answer and costs nothing.
 */
async function runOnce(
  deps: CallDeps,
  options: CallOptions,
  call: Call,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const bytesMax = limits.idempotentRequestBytesMax
  const body = await readWholeBody(call.request, { bytesMax, room: deps.bodyRoom })
  let isStarted = false
  try {
    isStarted = await startOnce(deps, options, { call, body, key }, signal)
  } finally {
    if (!isStarted) body.release()
  }
}

/** @returns whether the program runs; else the answer was there already. */
async function startOnce(
  deps: CallDeps,
  options: CallOptions,
  { call, body, key }: { call: Call; body: CallBody; key: string },
  signal: AbortSignal,
): Promise<boolean> {
  const claim = await deps.ledger.claimKey(
    {
      payer: call.payer.address,
      deployment: call.deployment.digest,
      key,
      requestDigest: fingerprintRequest(digestRequest(call, body), call.request),
    },
    signal,
  )
  if (claim.kind === 'stored') {
    sendStored(call, claim)
    return false
  }
  try {
    await start(deps, options, call, body, claim.key, signal)
    return true
  } catch (error) {
    claim.key[Symbol.dispose]()
    throw error
  }
}

function sendStored({ response }: Call, { callId, answer }: Extract<KeyClaim, { kind: 'stored' }>): void {
  const ours = [callHeaders.call, callId, callHeaders.price, '0', callHeaders.replayed, 'true']
  response.writeHead(answer.status, [...answer.rawHeaders, ...ours])
  response.end(answer.body)
}

/** Reserves the price and puts the call through to its program; gives the money back if that does not start. */
async function start(
  deps: CallDeps,
  options: CallOptions,
  call: Call,
  body: CallBody,
  key: ClaimedKey | undefined,
  signal: AbortSignal,
): Promise<RunningCall> {
  const reservation = reserve(deps, options, call)
  try {
    const instance = await deps.instanceOf(call.deployment, signal)
    signal.throwIfAborted()
    return startProgram(deps, options, { call, body, reservation, instance, key })
  } catch (error) {
    reservation.release('not started')
    throw error
  }
}

/** Takes the price out of what the payer's grant has left, or throws the reason why not; nothing waits in between. */
function reserve(deps: CallDeps, payee: CallOptions, call: Call): Reservation {
  const { payer, deployment, priceUsdc, request } = call
  const result = deps.ledger.reserve({
    callId: call.id,
    payer,
    grant: deps.grants.grant(payer.address),
    deployment: deployment.digest,
    spec: deployment.specDigest,
    priceUsdc,
    policy: payer.kind === 'owner' ? deployment.spec.policy : undefined,
    origin: typeof request.headers['origin'] === 'string' ? request.headers['origin'] : undefined,
    nowSeconds: Math.floor(deps.clock.nowMs() / 1000),
    chainLostSeconds: chainLostSeconds(deps) ?? 0,
  })
  if (result.kind === 'refused') throw withWaysToPay(result.error, { ...payee, priceUsdc })
  return result.reservation
}

interface ProgramRun {
  readonly call: Call
  readonly body: CallBody
  readonly reservation: Reservation
  readonly instance: Instance
  /** Set for a call whose answer is kept for its repetition. */
  readonly key: ClaimedKey | undefined
}

interface RunningCall {
  stop(error: ProtocolError): void
}

/** Sends the call to the running program, streams the answer back, and books it before the answer's last byte. */
function startProgram(deps: CallDeps, options: CallOptions, run: ProgramRun): RunningCall {
  const { call, body, reservation, instance, key } = run
  const { request, response, priceUsdc } = call

  async function book(ending: Ending): Promise<void> {
    const isPaid = isCharged(ending.outcome, call.payer.kind === 'owner')
    const receipt = toReceipt(call, ending, {
      provider: options.provider,
      requestDigest: digestRequest(call, body),
      priceUsdc: isPaid ? priceUsdc : zeroUsdc,
      durationMs: Math.round(deps.clock.monotonicMs() - call.startedMs),
    })
    if (ending.outcome !== 'answered') {
      const { outcome, error } = ending
      deps.log.info('call_failed', { call: call.id, deployment: call.cid, outcome, error: error?.message })
    }
    try {
      if (isPaid) await reservation.charge(receipt, key && { key, answer: toStoredAnswer(ending) })
      else {
        reservation.release(ending.outcome)
        await deps.ledger.record(receipt)
      }
    } finally {
      body.release()
      key?.[Symbol.dispose]()
    }
  }

  return relay({
    instance,
    request: {
      method: request.method ?? 'GET',
      target: call.target,
      rawHeaders: toProgramHeaders(request.rawHeaders),
      ...(body.body && { body: body.body }),
    },
    response,
    callHeaders: [callHeaders.call, call.id, callHeaders.price, priceUsdc.toString(), ...chainAge(deps)],
    keptBytesMax: key ? limits.idempotentAnswerBytesMax : 0,
    book,
    refuse: (error) => call.refuse(error, call.id),
  })
}

/** Says that the call was admitted on what was known some time ago. */
function chainAge(deps: CallDeps): string[] {
  const seconds = chainLostSeconds(deps)
  return seconds === undefined ? [] : [callHeaders.chainAge, String(seconds)]
}

function chainLostSeconds({ clock, chainLostSinceMs }: CallDeps): number | undefined {
  const lostSinceMs = chainLostSinceMs()
  return lostSinceMs === undefined ? undefined : Math.ceil((clock.nowMs() - lostSinceMs) / 1000)
}

function toReceipt(
  call: Call,
  ending: Ending,
  rest: Pick<Receipt, 'provider' | 'requestDigest' | 'priceUsdc' | 'durationMs'>,
): Receipt {
  return {
    callId: call.id,
    programId: call.deployment.programId,
    deployment: call.deployment.digest,
    payer: call.payer.address,
    responseDigest: toHex(ending.bodyDigest),
    status: ending.status,
    outcome: ending.outcome,
    startedAt: call.startedAt,
    ...rest,
  }
}

/** A faulty answer is not kept whole, but its key is: the same request would fail again and cost again. */
function toStoredAnswer({ status, rawHeaders, body }: Ending): StoredAnswer | undefined {
  return body && { status, rawHeaders, body }
}

function digestRequest({ request, target }: Call, body: CallBody): Hex {
  return hashRequest({ method: request.method ?? 'GET', target, bodyDigest: body.digest() })
}
