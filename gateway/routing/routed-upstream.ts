import type { Readable } from 'node:stream'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { type AttemptOutcome, type CallAttempt, formatAttempt } from '../../protocol/call-attempt.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import {
  type ErrorCode,
  isProtocolError,
  ProtocolError,
  parseProblem,
  toProtocolError,
} from '../../protocol/errors.ts'
import type {
  RawHeaders,
  Upstream,
  UpstreamExchange,
  UpstreamHandler,
  UpstreamRequest,
} from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { Name, ProviderName } from '../../protocol/name.ts'
import { isOfOneVoucher, meaningOf } from '../../protocol/refusal.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { VoucherSet } from '../../protocol/voucher-set.ts'
import type { ProviderRoutes } from '../proxy/provider-routes.ts'
import type { Standing } from '../reputation/standing.ts'
import { type ChoiceReason, chooseProvider } from './choose-provider.ts'
import { explainDoubt, isCallersFault, isSilence, mayBeRefusal } from './decide-retry.ts'
import type { HealthBook } from './health-book.ts'
import { withVoucherFor } from './own-voucher.ts'
import { noteAnswer, noteBusy, noteEnd, noteFailure, noteStart } from './provider-health.ts'

export interface RoutedDeps {
  readonly clock: Clock
  readonly log: Log
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly routes: Pick<ProviderRoutes, 'routeTo'>
  readonly health: HealthBook
  /** How a provider has served so far; nothing is waited for. */
  readonly standingOf: (provider: ProviderName) => Standing
  /** Whether this gateway passes a call on to this provider now; its limit counts the question. */
  readonly admitProvider: (provider: ProviderName) => boolean
}

export interface RouteWish {
  /** Of the deployment. */
  readonly cid: string
  /** Those who may serve it; at least one. */
  readonly providers: readonly ProviderName[]
  /** The most that the caller pays for a call; undefined where it does not say. */
  readonly priceUsdcMax: Usdc | undefined
  /** `Host` for a provider that is reached by a tunnel. */
  readonly host: string
  /** Where the caller pays by vouchers for several: one for each of `providers`. */
  readonly vouchers?: VoucherSet | undefined
}

/** For one request. */
export interface RoutedUpstream extends Upstream {
  /** Who was chosen last. */
  servedBy(): Name | undefined
  /** Why: see `gatewayHeaders.route`. */
  routeReason(): string | undefined
  /** To whom the call was offered: see `gatewayHeaders.attempt`. */
  attempts(): readonly string[]
}

/**
 * Several providers as one upstream: it chooses one for each request, and another one only where the first has surely not
 * begun with it. Whoever has it when the answer begins keeps it.
 */
export function createRoutedUpstream(deps: RoutedDeps, wish: RouteWish): RoutedUpstream {
  let latest: RoutedExchange | undefined
  return {
    servedBy: () => latest?.provider,
    routeReason: () => latest?.reason,
    attempts: () => latest?.attempts() ?? [],
    send(request, handler) {
      const exchange = new RoutedExchange(deps, wish, request, handler)
      latest = exchange
      exchange.begin()
      return exchange
    },
  }
}

/** A refusal that is held back until it is clear whether somebody else takes the call. */
interface HeldAnswer {
  readonly status: number
  readonly rawHeaders: RawHeaders
  readonly chunks: Buffer[]
  bytes: number
}

class RoutedExchange implements UpstreamExchange {
  readonly #deps: RoutedDeps
  readonly #wish: RouteWish
  readonly #handler: UpstreamHandler
  readonly #tried = new Set<ProviderName>()
  readonly #attempts: CallAttempt[] = []
  #request: UpstreamRequest
  #exchange: UpstreamExchange | undefined
  /** The answer to the caller where nobody takes the call: the first refusal says most. */
  #refusal: HeldAnswer | undefined
  #stopReading: (() => void) | undefined
  #finishAttempt: (() => void) | undefined
  #provider: Name | undefined
  #reason: string | undefined
  #isPaused = false
  #isOver = false

  constructor(deps: RoutedDeps, wish: RouteWish, request: UpstreamRequest, handler: UpstreamHandler) {
    this.#deps = deps
    this.#wish = wish
    this.#request = request
    this.#handler = handler
  }

  get provider(): Name | undefined {
    return this.#provider
  }

  get reason(): string | undefined {
    return this.#reason
  }

  /** One that answered at once is told in another header already. */
  attempts(): readonly string[] {
    const [first, ...rest] = this.#attempts
    return first === undefined || (rest.length === 0 && first.outcome === 'answered')
      ? []
      : this.#attempts.map(formatAttempt)
  }

  begin(): void {
    const { body } = this.#request
    const lengthBytes = lengthOf(this.#request.rawHeaders)
    if (body === undefined || Buffer.isBuffer(body)) this.#attempt()
    else if (lengthBytes === undefined || lengthBytes > limits.routeReplayBytesMax) this.#attempt()
    else this.#readBody(body, lengthBytes)
  }

  pause(): void {
    this.#isPaused = true
    this.#exchange?.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.#exchange?.resume()
  }

  abort(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#stopReading?.()
    this.#finishAttempt?.()
    this.#exchange?.abort()
  }

  /** A short body is read first: then whoever is chosen in the end gets all of it. */
  #readBody(body: Readable, lengthBytes: number): void {
    this.#request.onBodyWanted?.()
    const chunks: Buffer[] = []
    let bytes = 0
    const stop = () => {
      this.#stopReading = undefined
      body.off('data', onData).off('end', onEnd).off('error', onBroken).off('close', onBroken)
    }
    const onData = (chunk: Buffer) => {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > lengthBytes) onBroken()
    }
    const onEnd = () => {
      stop()
      if (bytes !== lengthBytes) return this.#fail(brokenBody())
      this.#request = { ...this.#request, body: Buffer.concat(chunks) }
      this.#attempt()
    }
    const onBroken = () => {
      stop()
      this.#fail(brokenBody())
    }
    this.#stopReading = stop
    body.on('data', onData).on('end', onEnd).on('error', onBroken).on('close', onBroken)
  }

  /** Sends the request to the best that is left. */
  #attempt(): void {
    if (this.#isOver) return
    const { clock, health, random, routes, standingOf } = this.#deps
    const { providers, cid, priceUsdcMax } = this.#wish
    const candidates = providers.map((provider) => ({
      health: health.of(provider.address),
      standing: standingOf(provider),
      isTried: this.#tried.has(provider),
      hasRefused: health.hasRefused(provider.address, cid),
    }))
    const nowMs = clock.monotonicMs()
    const choice =
      this.#tried.size < limits.routeAttemptsMax
        ? chooseProvider(candidates, { nowMs, priceUsdcMax, random })
        : ({ kind: 'none' } as const)
    if (choice.kind !== 'chosen') {
      this.#giveUp(unavailable(choice))
      return
    }
    const provider = providers[choice.index]!
    this.#tried.add(provider)
    if (!this.#deps.admitProvider(provider)) {
      this.#note(provider, 'unreached', 'too_many_requests')
      this.#next(undefined)
      return
    }
    this.#provider = provider.name
    this.#reason = formatReason(provider, choice.reason, {
      of: providers.length,
      attempt: this.#tried.size,
      priceUsdc: health.of(provider.address).priceUsdc,
    })
    health.change(provider.address, (known) => noteStart(known, nowMs))
    let isEnded = false
    const finish = () => {
      if (isEnded) return
      isEnded = true
      this.#finishAttempt = undefined
      health.change(provider.address, noteEnd)
    }
    this.#finishAttempt = finish
    try {
      const route = routes.routeTo(provider)
      const { host, vouchers } = this.#wish
      const own = withHost(this.#request.rawHeaders, route.host ?? host)
      const rawHeaders = vouchers ? withVoucherFor(own, vouchers, provider.address) : own
      const exchange = route.upstream.send(
        { ...this.#request, rawHeaders },
        this.#handlerOf(provider, finish),
      )
      // Whoever answered or failed within `send` has been replaced by now.
      if (isEnded) return
      this.#exchange = exchange
      if (this.#isOver) exchange.abort()
      else if (this.#isPaused) exchange.pause()
    } catch (error) {
      finish()
      if (!isProtocolError(error)) throw error
      this.#note(provider, 'unreached', error.code)
      this.#noteFailure(provider, error)
      this.#next(error)
    }
  }

  #handlerOf(provider: ProviderName, finish: () => void): UpstreamHandler {
    const { clock, health } = this.#deps
    const startedMs = clock.monotonicMs()
    let held: HeldAnswer | undefined
    const passOn = () => {
      if (!held) return
      const { status, rawHeaders, chunks } = held
      held = undefined
      this.#handler.onHead(status, rawHeaders)
      for (const chunk of chunks) this.#handler.onData(chunk)
    }
    return {
      onHead: (status, rawHeaders) => {
        if (this.#isOver) return
        if (this.#request.method !== 'HEAD' && mayBeRefusal(status, rawHeaders)) {
          held = { status, rawHeaders, chunks: [], bytes: 0 }
          return
        }
        const nowMs = clock.monotonicMs()
        const latencyMs = nowMs - startedMs
        health.change(provider.address, (known) => noteAnswer(known, { latencyMs, nowMs }))
        this.#note(provider, 'answered')
        this.#handler.onHead(status, rawHeaders)
      },
      onData: (chunk) => {
        if (this.#isOver) return
        if (!held) return this.#handler.onData(chunk)
        held.chunks.push(chunk)
        held.bytes += chunk.length
        if (held.bytes <= limits.problemBytesMax) return
        this.#note(provider, 'answered')
        passOn()
      },
      onEnd: (trailers) => {
        finish()
        if (this.#isOver) return
        if (held && this.#noteRefusal(provider, held)) {
          this.#refusal ??= held
          this.#next(undefined)
          return
        }
        passOn()
        this.#isOver = true
        this.#handler.onEnd(trailers)
      },
      onError: (error, isUntaken = false) => {
        finish()
        if (this.#isOver) return
        this.#noteFailure(provider, error)
        this.#note(provider, isUntaken ? 'unreached' : 'doubtful', error.code)
        if (!isUntaken) this.#fail(explainDoubt(error, provider.name))
        else if (isCallersFault(error.code)) this.#fail(error)
        else this.#next(error)
      },
    }
  }

  /** @returns whether somebody else may take the call. */
  #noteRefusal(provider: ProviderName, { chunks }: HeldAnswer): boolean {
    const { clock, health, log, random } = this.#deps
    const problem = parseProblem(parseJson(Buffer.concat(chunks)))
    const meaning = meaningOf(problem?.code)
    const nowMs = clock.monotonicMs()
    // Of a loss another gateway on the way may tell.
    if (problem) this.#note(provider, isSilence(problem.code) ? 'doubtful' : 'refused', problem.code)
    else this.#note(provider, 'answered')
    if (this.#wish.vouchers && isOfOneVoucher(problem?.code)) return true
    if (meaning === undefined) {
      health.change(provider.address, (known) =>
        noteAnswer(known, { latencyMs: known.latencyMs ?? 0, nowMs }),
      )
      return false
    }
    log.debug('call_refused_by', { provider: provider.name, code: problem?.code })
    if (meaning === 'not_here') health.noteRefusal(provider.address, this.#wish.cid)
    if (meaning === 'faulty')
      health.change(provider.address, (known) => noteFailure(known, { nowMs, random }))
    if (meaning === 'busy') {
      const { retryAfterSeconds } = problem as { retryAfterSeconds?: unknown }
      const retryAfterMs =
        typeof retryAfterSeconds === 'number' ? Math.max(0, retryAfterSeconds) * 1000 : 1_000
      health.change(provider.address, (known) => noteBusy(known, { nowMs, retryAfterMs }))
    }
    return true
  }

  #note({ name, address }: ProviderName, outcome: AttemptOutcome, code?: ErrorCode): void {
    // A head may be followed by a failure; of the call it is known by then who has it.
    if (this.#attempts.at(-1)?.address === address) return
    this.#attempts.push({ name, address, outcome, code })
  }

  #noteFailure({ name, address }: ProviderName, { code }: ProtocolError): void {
    if (isCallersFault(code)) return
    const { clock, health, log, random } = this.#deps
    const nowMs = clock.monotonicMs()
    log.debug('provider_failed', { provider: name, code })
    if (code === 'provider_busy')
      health.change(address, (known) => noteBusy(known, { nowMs, retryAfterMs: 1_000 }))
    else health.change(address, (known) => noteFailure(known, { nowMs, random }))
  }

  /** Tries somebody else, where all of the request is still here. */
  #next(error: ProtocolError | undefined): void {
    const { body } = this.#request
    this.#exchange = undefined
    const isWhole = body === undefined || Buffer.isBuffer(body) || !body.readableDidRead
    if (isWhole && this.#tried.size < this.#wish.providers.length) this.#attempt()
    else this.#giveUp(error ?? unavailable({ kind: 'none' }))
  }

  /** Says the first refusal where there was one, for it came from a provider that does run. */
  #giveUp(error: ProtocolError): void {
    const refusal = this.#refusal
    if (!refusal) {
      this.#fail(error)
      return
    }
    this.#refusal = undefined
    queueMicrotask(() => {
      if (this.#isOver) return
      this.#isOver = true
      this.#handler.onHead(refusal.status, refusal.rawHeaders)
      for (const chunk of refusal.chunks) this.#handler.onData(chunk)
      this.#handler.onEnd()
    })
  }

  /** Never from within `send`. */
  #fail(error: ProtocolError): void {
    queueMicrotask(() => {
      if (this.#isOver) return
      this.#isOver = true
      this.#handler.onError(toProtocolError(error))
    })
  }
}

/** See `gatewayHeaders.route`. */
function formatReason(
  { name }: ProviderName,
  { why, among, share, record }: ChoiceReason,
  { of, attempt, priceUsdc }: { of: number; attempt: number; priceUsdc: Usdc | undefined },
): string {
  const price = priceUsdc === undefined ? '' : `; price=${priceUsdc}`
  const percent = Math.round(share * 100)
  return `${name}; why=${why}; among=${among}; of=${of}; try=${attempt}; share=${percent}; record=${record}${price}`
}

/** `Host` stands first: see `forwardHeaders`. */
function withHost(rawHeaders: RawHeaders, host: string): RawHeaders {
  return rawHeaders[1] === host ? rawHeaders : [rawHeaders[0]!, host, ...rawHeaders.slice(2)]
}

function lengthOf(rawHeaders: RawHeaders): number | undefined {
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]!.toLowerCase() === 'content-length') return Number(rawHeaders[index + 1])
  }
  return undefined
}

function unavailable(
  why: { kind: 'none' } | { kind: 'too_dear' } | { kind: 'broken'; retryAfterMs: number },
): ProtocolError {
  if (why.kind === 'too_dear') {
    return new ProtocolError('providers_unavailable', 'No provider serves this for the price of the pass.', {
      hint: 'Sign a pass with a higher price per call.',
    })
  }
  const retryAfterSeconds = why.kind === 'broken' ? Math.ceil(why.retryAfterMs / 1000) : 1
  return new ProtocolError(
    'providers_unavailable',
    'None of the providers that serve this deployment takes calls now.',
    { hint: `Send it again in ${retryAfterSeconds} s.`, details: { retryAfterSeconds } },
  )
}

function brokenBody(): ProtocolError {
  return new ProtocolError('bad_request', 'The body of the request is not of the length that it announced.', {
    hint: 'Send all of it.',
  })
}
