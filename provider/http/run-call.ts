import type { Address, Hex } from 'viem'
import { type ActivationCall, findActivation, readActivationParams } from '../../protocol/activation.ts'
import { assert } from '../../protocol/base/assert.ts'
import { toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { type CallId, callHeaders, hashRequest, isCharged } from '../../protocol/call.ts'
import { isProtocolError, type ProtocolError } from '../../protocol/errors.ts'
import type { RawHeaders, UpstreamRequest } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { Payer } from '../../protocol/payer.ts'
import { callIdBeginning } from '../../protocol/program-log.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import {
  formatPaymentResult,
  type Payment,
  type PaymentResult,
  type PaymentTerms,
  x402Headers,
} from '../../protocol/x402.ts'
import { sourceOf } from '../admission/asker.ts'
import type { FindPayer } from '../admission/find-payer.ts'
import type { Place, Places, PlaceWish } from '../admission/places.ts'
import type { Run, UnpaidRuns } from '../admission/unpaid-runs.ts'
import type { Ballots, Drawn } from '../ballots/ballots.ts'
import { assertPaysForBallot, noKeyedBallots, readBallot } from '../ballots/read-ballot.ts'
import { runVote } from '../ballots/run-vote.ts'
import type { Deployment, Deployments } from '../deployments/deployments.ts'
import type { ClaimedKey } from '../ledger/keys.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { StoredAnswer } from '../ledger/records.ts'
import type { FreshEntry, ProgramLog } from '../logs/program-log.ts'
import type { ProviderMetrics } from '../metrics.ts'
import { type Programs, type ProgramUse, processKey } from '../open-programs.ts'
import type { Rules } from '../policy/rules.ts'
import type { CallRecords } from '../replay/call-records.ts'
import type { Instance } from '../runtime/runtime.ts'
import { type EarlierCall, type HeldPayment, settlementPending } from '../x402/payment-desk.ts'
import type { X402 } from '../x402/x402.ts'
import { toActivationRequest } from './activation-request.ts'
import { type BodyRoom, type CallBody, openBody, readWholeBody } from './call-body.ts'
import {
  type Booked,
  type CallMoney,
  type GrantClaim,
  type GrantMoneyDeps,
  type MirroredMoney,
  reserveByVoucher,
  reserveGrant,
  reservePayment,
} from './call-money.ts'
import type { CallRequest } from './call-request.ts'
import { fingerprintRequest, readIdempotencyKey } from './idempotency.ts'
import {
  type CallRecord,
  isNobodys,
  isPaymentHeader,
  toProgramHeaders,
  toRecordedHeaders,
} from './program-headers.ts'
import { type Ending, relay } from './relay.ts'
import { assertMaySwitch, assertNoSwitch, assertPaysForSwitch } from './web-socket.ts'
import { refuseWithTerms, x402Terms } from './x402-terms.ts'

export interface CallDeps {
  readonly clock: Clock
  readonly log: Log
  /** A new one for each call. */
  readonly createCallId: () => CallId
  readonly deployments: Deployments
  readonly findPayer: FindPayer
  readonly unpaidRuns: UnpaidRuns
  readonly places: Pick<Places, 'take'>
  readonly rules: Pick<Rules, 'assertRuns' | 'countCall' | 'limitsOf'>
  readonly grants: MirroredMoney
  readonly ledger: GrantMoneyDeps['ledger'] & Pick<Ledger, 'claimKey' | 'signVote'>
  /** The running program of a deployment, started if need be. */
  readonly instanceOf: (deployment: Deployment, use: ProgramUse, signal: AbortSignal) => Promise<Instance>
  readonly needsOf: Programs['needsOf']
  /** Absent where callers cannot pay by x402. */
  readonly x402: Pick<X402, 'desk' | 'terms'> | undefined
  readonly programLog: Pick<ProgramLog, 'add'>
  readonly callRecords: Pick<CallRecords, 'add'>
  readonly metrics: Pick<ProviderMetrics, 'countCall'>
  /** For the bodies of calls that are read whole before they run. */
  readonly bodyRoom: BodyRoom
  readonly ballots: Ballots
  /** For how long the chain has not answered, and grants are the last known ones; undefined while it does. */
  readonly chainLostForMs: () => number | undefined
}

export interface CallOptions {
  readonly provider: Address
  readonly name: string
  readonly market: Market
  /** The price of one call now. */
  readonly priceUsdc: () => Usdc
  /** The shortest notice of a grant that it serves on. */
  readonly noticeHours: number
}

/** What is known of a call before it runs. */
interface Call extends CallRequest {
  readonly id: CallId
  readonly deployment: Deployment
  readonly payer: Payer
  /** What its payer is charged: nothing for a trial call. */
  readonly priceUsdc: Usdc
  /** What an x402 payment for it must be; undefined where none would count. */
  readonly terms: PaymentTerms | undefined
  readonly startedAt: number
  readonly startedMs: number
  /** Set where it means a method of the program, and not its handler of pages. */
  readonly activation: ActivationCall | undefined
  /** Set for a ballot of a swarm, for which this provider was drawn. */
  readonly drawn: Drawn | undefined
}

/**
 * Runs one call, from its CID to its place in the books. Read this function first: it is the order of DESIGN's "a call,
 * step by step". Whatever throws before the program runs costs nobody anything.
 */
export async function runCall(deps: CallDeps, options: CallOptions, incoming: CallRequest): Promise<void> {
  const { request, cid, signal } = incoming
  const deployment = deps.deployments.peek(cid) ?? (await deps.deployments.read(cid, signal))
  deps.rules.assertRuns(deployment)
  assertMaySwitch(request, deployment)
  const activation = findActivation(deployment.spec.activations, {
    method: request.method ?? 'GET',
    target: incoming.target,
  })
  if (activation) assertNoSwitch(request)
  const ballot = readBallot(request)
  const priceUsdc = options.priceUsdc()
  const terms = request.switchesTo || ballot ? undefined : x402Terms(deps.x402, deployment, priceUsdc)
  const refuse = refuseWithTerms(incoming, { ...options, priceUsdc }, terms)
  try {
    const payer = await deps.findPayer({
      headers: request.headers,
      socket: request.socket,
      deployment,
      priceUsdc,
    })
    assertPaysForSwitch(request, payer)
    if (ballot) assertPaysForBallot(payer)
    const call: Call = {
      ...incoming,
      refuse,
      id: deps.createCallId(),
      deployment,
      payer,
      priceUsdc: payer.kind === 'trial' ? zeroUsdc : priceUsdc,
      terms,
      startedAt: deps.clock.nowMs(),
      startedMs: deps.clock.monotonicMs(),
      activation,
      drawn: ballot && (await deps.ballots.draw(ballot, deployment, signal)),
    }
    const key = readIdempotencyKey(request)
    if (ballot && key !== undefined) throw noKeyedBallots()
    if (key !== undefined || payer.kind === 'x402') await runOnce(deps, options, call, key)
    else if (ballot || activation || deployment.spec.record) await runWhole(deps, options, call)
    else await runStreamed(deps, options, call)
  } catch (thrown) {
    if (!isProtocolError(thrown) || thrown.status !== 402) throw thrown
    refuse(thrown)
  }
}

/** The usual way: the request's body goes to the program as it comes. */
async function runStreamed(deps: CallDeps, options: CallOptions, call: Call): Promise<void> {
  let running: RunningCall | undefined
  const body = openBody(call.request, (error) => running?.stop(error))
  if (body.body) call.response.once('finish', body.discardRest)
  running = await start(deps, options, {
    call,
    body,
    key: undefined,
    payment: undefined,
    held: noHolds,
    params: undefined,
  })
}

/**
 * The way of a call with an `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header) or an x402 payment: the body
 * is read first, because key and payment hold for one request only; a repetition gets the stored answer and costs
 * nothing.
 */
async function runOnce(
  deps: CallDeps,
  options: CallOptions,
  call: Call,
  key: string | undefined,
): Promise<void> {
  const bytesMax = wholeBytesMax(call)
  const body = await readWholeBody(call.request, { bytesMax, room: deps.bodyRoom })
  using held = new DisposableStack()
  held.defer(body.release)
  const params = readParams(call, body)
  const { payer, signal } = call
  const requestDigest = fingerprintRequest(digestRequest(call, body), call.request)
  const deployment = call.deployment.digest

  const payment =
    payer.kind === 'x402' && deps.x402
      ? held.use(await deps.x402.desk.hold(payer.payment, { deployment, requestDigest }, signal))
      : undefined
  const earlier = await payment?.findAnswer()
  if (earlier) return sendStored(call, earlier)

  const name = key ?? (payer.kind === 'x402' ? identifierKey(payer.payment) : undefined)
  const claim =
    name === undefined
      ? undefined
      : await deps.ledger.claimKey({ payer: payer.address, deployment, key: name, requestDigest }, signal)
  if (claim?.kind === 'stored')
    return sendStored(call, { ...claim, result: await deps.x402?.desk.resultOf(claim.callId) })
  const claimed = claim && held.use(claim.key)
  await start(deps, options, { call, body, params, key: claimed, payment, held: held.move() })
}

/**
 * The way of a ballot, a recorded call and an activation: the body is read first, because what was asked is part of vote and record,
 * and wrong params are nothing to reserve money for.
 */
async function runWhole(deps: CallDeps, options: CallOptions, call: Call): Promise<void> {
  const bytesMax = wholeBytesMax(call)
  const body = await readWholeBody(call.request, { bytesMax, room: deps.bodyRoom })
  using held = new DisposableStack()
  held.defer(body.release)
  const params = readParams(call, body)
  await start(deps, options, {
    ...{ call, body, params, key: undefined, payment: undefined },
    held: held.move(),
  })
}

/** @throws ProtocolError `activation_param_invalid`, `bad_request` */
function readParams({ activation }: Call, { body }: CallBody): Uint8Array | undefined {
  return activation && readActivationParams(activation, Buffer.isBuffer(body) ? body : Buffer.alloc(0))
}

/** What could not be kept is refused: of a recorded deployment every answer can be checked. */
function wholeBytesMax({ activation, deployment: { spec } }: Call): number {
  if (activation) return limits.activationBodyBytesMax
  return spec.record ? limits.callRecordBodyBytesMax : limits.idempotentRequestBytesMax
}

/** Keys of payments and those of `Idempotency-Key` are names of two kinds. */
const identifierKey = ({ identifier }: Payment) => identifier && `payment-identifier ${identifier}`

function sendStored(
  { response }: Call,
  { callId, answer, result }: Omit<EarlierCall, 'result'> & { readonly result?: PaymentResult | undefined },
): void {
  const ours = [callHeaders.call, callId, callHeaders.price, '0', callHeaders.replayed, 'true']
  if (result) ours.push(x402Headers.response, formatPaymentResult(result))
  response.writeHead(answer.status, [...answer.rawHeaders, ...ours])
  response.end(answer.body)
}

/** What a call needs to start, and what it gives back in the end. */
interface ReadyCall {
  readonly call: Call
  readonly body: CallBody
  /** Canonical JSON; set for an activation. */
  readonly params: Uint8Array | undefined
  /** Set for a call whose answer is found again by its key. */
  readonly key: ClaimedKey | undefined
  /** Set for a call that is paid by x402. */
  readonly payment: HeldPayment | undefined
  /** Key, payment and room of the body; others wait for them. */
  readonly held: { dispose(): void }
}

const noHolds = { dispose: () => undefined }

/** Sets the money aside and puts the call through to its program; gives it back if that does not start. */
async function start(deps: CallDeps, options: CallOptions, ready: ReadyCall): Promise<RunningCall> {
  const { call, payment, held } = ready
  const { signal } = call
  let money: CallMoney | undefined
  let place: Place | undefined
  try {
    deps.unpaidRuns.assertRoom(runOf(call))
    money =
      payment && call.terms
        ? await reservePayment(payment, { callId: call.id, terms: call.terms }, signal)
        : await reserveFrom(deps, claimOf(deps, options, call))
    // Only who can pay may wait for a place.
    const taken = deps.places.take(placeOf(deps, call), signal)
    place = taken instanceof Promise ? await taken : taken
    const instance = await deps.instanceOf(call.deployment, useOf(call), signal)
    if (signal.aborted) {
      // Who has programs started and does not wait for them would have that for nothing.
      deps.unpaidRuns.addUnpaid(runOf(call))
      throw signal.reason
    }
    return startProgram(deps, options, { ...ready, money, place, instance })
  } catch (error) {
    place?.[Symbol.dispose]()
    tellOwner(deps, call, error)
    await money?.release()
    held.dispose()
    throw error
  }
}

function reserveFrom(deps: CallDeps, claim: GrantClaim): CallMoney | Promise<CallMoney> {
  const { payer } = claim
  return payer.kind === 'voucher' ? reserveByVoucher(deps, { ...claim, payer }) : reserveGrant(deps, claim)
}

function claimOf(
  deps: CallDeps,
  options: CallOptions,
  { id, payer, deployment, priceUsdc, request }: Call,
): GrantClaim {
  assert(payer.kind !== 'x402', 'a payment pays by itself')
  const { origin } = request.headers
  return {
    callId: id,
    payer,
    deployment,
    priceUsdc,
    origin: typeof origin === 'string' ? origin : undefined,
    chainLostSeconds: chainLostSeconds(deps) ?? 0,
    noticeHoursMin: options.noticeHours,
  }
}

const useOf = ({ activation }: Call): ProgramUse => (activation ? 'activations' : 'pages')

function placeOf({ rules, needsOf }: CallDeps, call: Call): PlaceWish {
  const { payer, deployment } = call
  const { concurrency } = rules.limitsOf(deployment.spec)
  return {
    payer: payer.address,
    deployment: processKey(deployment, useOf(call)),
    ...needsOf(deployment.spec),
    concurrency,
  }
}

/** What keeps its callers out is told to whom it concerns; who could not pay is between others. */
function tellOwner({ programLog }: CallDeps, { deployment }: Call, error: unknown): void {
  if (!isProtocolError(error) || !ownersAffair.has(error.code)) return
  programLog.add(deployment.digest, {
    kind: 'event',
    text: `A call was refused (${error.code}): ${error.message}`,
  })
}

const ownersAffair: ReadonlySet<string> = new Set(['concurrency_reached', 'provider_busy', 'limits_too_high'])

/**
 * An owner pays for its program's faults, so of its calls only those run for nothing whose request could not go on. Callers of
 * whom nothing is known do that: it counts for the place that they call from, and neither for the owner nor its program.
 */
const runOf = ({ payer, deployment, request }: Call): Run =>
  payer.kind === 'owner'
    ? { payer: sourceOf(request).network, spec: undefined }
    : { payer: payer.address, spec: deployment.specDigest }

/** What failed on our side is nobody's to wait for. */
function countRun(
  { unpaidRuns }: CallDeps,
  call: Call,
  { outcome, isRefused, isPaid }: Pick<Ending, 'outcome' | 'isRefused'> & { isPaid: boolean },
): void {
  if (isPaid) unpaidRuns.addPaid(runOf(call))
  else if (outcome !== 'platform_fault' || isRefused) unpaidRuns.addUnpaid(runOf(call))
}

interface ProgramRun extends ReadyCall {
  readonly money: CallMoney
  readonly place: Place
  readonly instance: Instance
}

interface RunningCall {
  stop(error: ProtocolError): void
}

/** Sends the call to the running program, streams the answer back, and books it before the answer's last byte. */
function startProgram(deps: CallDeps, options: CallOptions, run: ProgramRun): RunningCall {
  const { call, body, money, place, instance, key, payment, held } = run
  const { response, priceUsdc } = call

  async function book(ending: Ending, mayCharge = true): Promise<Booked> {
    // The program is done with it; what follows is ours.
    place[Symbol.dispose]()
    deps.rules.countCall(call.deployment, ending.outcome)
    const isPaid = mayCharge && isCharged(ending.outcome, call.payer.kind === 'owner')
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
    if (ending.outcome === 'answered') keepInput(deps, call, body)
    try {
      const booked = isPaid
        ? await money.charge(receipt, { key, answer: toStoredAnswer(ending) })
        : await money.waive(receipt)
      deps.programLog.add(call.deployment.digest, toLogEntry(call, receipt, ending))
      const { outcome, priceUsdc: chargedUsdc, durationMs } = receipt
      deps.metrics.countCall({ outcome, chargedUsdc, durationMs })
      countRun(deps, call, { ...ending, isPaid: isPaid && !booked.refusal })
      return booked
    } finally {
      held.dispose()
    }
  }

  const isOurs = call.terms ? isPaymentHeader : isNobodys
  const way = {
    instance,
    request: toProgramRequest(run, isOurs),
    response,
    callHeaders: [
      callHeaders.call,
      call.id,
      callHeaders.price,
      priceUsdc.toString(),
      callHeaders.payer,
      call.payer.kind,
      ...chainAge(deps),
    ],
    book,
    refuse: (error: ProtocolError, rawHeaders?: RawHeaders) => call.refuse(error, call.id, rawHeaders),
    isOurs,
  }
  if (call.drawn) {
    const { drawn, deployment, id: callId } = call
    const { signVote } = deps.ledger
    return runVote(
      { ballots: deps.ballots, signVote, releasePlace: () => place[Symbol.dispose]() },
      { ...way, drawn, deployment, callId, requestDigest: digestRequest(call, body) },
    )
  }
  return relay({
    ...way,
    keptBytesMax: key || payment ? limits.idempotentAnswerBytesMax : 0,
    ...(payment && { waitsForBooks: { earlyHeaders: pendingHeaders(call, payment) } }),
  })
}

/** What the program gets: the caller's request, or the params of an activation and nothing else of it. */
function toProgramRequest(
  { call, body, params }: ReadyCall,
  isOurs: (lowerName: string) => boolean,
): UpstreamRequest {
  const { request, activation, deployment } = call
  if (activation && params) return toActivationRequest(activation.name, params, deployment.programId)
  const content = contentOf(call, body)
  return {
    method: request.method ?? 'GET',
    target: call.target,
    rawHeaders: deployment.spec.record
      ? toRecordedHeaders({ callId: call.id, startedMs: call.startedAt })
      : toProgramHeaders(request.rawHeaders, isOurs, toRecord(call)),
    ...(content && { body: content }),
    switchesTo: request.switchesTo,
  }
}

const pendingHeaders = ({ payer }: Call, { chainId }: HeldPayment): string[] => {
  const result = { success: false, errorReason: settlementPending, transaction: undefined, chainId }
  return [x402Headers.response, formatPaymentResult({ ...result, payer: payer.address })]
}

/** Only a program that has no other time and randomness is told these. */
const toRecord = ({ deployment, id, startedAt }: Call): CallRecord | undefined =>
  deployment.spec.runtime === 'wasm' ? { callId: id, startedMs: startedAt } : undefined

/** A program can tell no body from an empty one; a record, and its digest, cannot. */
const contentOf = ({ deployment }: Call, { body }: CallBody) =>
  deployment.spec.record && Buffer.isBuffer(body) && body.length === 0 ? undefined : body

function keepInput(
  { callRecords }: CallDeps,
  { id, deployment, payer, request, target }: Call,
  body: CallBody,
) {
  const { record, owner } = deployment.spec
  if (!record) return
  const whole = body.body ?? Buffer.alloc(0)
  assert(Buffer.isBuffer(whole), 'what is recorded was read whole')
  callRecords.add(id, {
    input: { method: request.method ?? 'GET', target, body: whole },
    readers: [payer.address, owner],
    seconds: record.seconds,
  })
}

/** Says that the call was admitted on what was known some time ago. */
function chainAge(deps: CallDeps): string[] {
  const seconds = chainLostSeconds(deps)
  return seconds === undefined ? [] : [callHeaders.chainAge, String(seconds)]
}

function chainLostSeconds({ chainLostForMs }: CallDeps): number | undefined {
  const lostForMs = chainLostForMs()
  return lostForMs === undefined ? undefined : Math.ceil(lostForMs / 1000)
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

/** The query stays out of it: what a caller asks with is between it and the program. */
const toLogEntry = ({ request, target }: Call, receipt: Receipt, { error }: Ending): FreshEntry => ({
  kind: 'call',
  call: callIdBeginning(receipt.callId),
  method: request.method ?? 'GET',
  path: target.split('?', 1)[0]?.slice(0, limits.programLogPathCharsMax) ?? '/',
  status: error?.status ?? receipt.status,
  outcome: receipt.outcome,
  durationMs: receipt.durationMs,
  chargedUsdc: receipt.priceUsdc,
  ...(error && { message: error.message }),
})

/** A faulty answer is not kept whole, but its key is: the same request would fail again and cost again. */
function toStoredAnswer({ status, rawHeaders, body }: Ending): StoredAnswer | undefined {
  return body && { status, rawHeaders, body }
}

function digestRequest({ request, target }: Call, body: CallBody): Hex {
  return hashRequest({ method: request.method ?? 'GET', target, bodyDigest: body.digest() })
}
