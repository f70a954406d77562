import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { DialRefusals, Lookup } from '../../protocol/http/dial-checked.ts'
import { createHttpPool, type HttpPool } from '../../protocol/http/h1-client.ts'
import { clusterHopHeader } from '../../protocol/http/headers.ts'
import type {
  Upstream,
  UpstreamExchange,
  UpstreamHandler,
  UpstreamRequest,
} from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { dialHop, type MayHop } from './hop-rule.ts'
import { formatHopToken } from './hop-token.ts'
import type { Member, Members } from './members.ts'

export interface HopsDeps {
  readonly clock: Clock
  readonly members: Members
  readonly secret: Uint8Array
  readonly lookup: Lookup
  readonly mayHop: MayHop
}

/** The ways to other gateways. */
export interface Hops extends Disposable {
  upstreamFor(provider: Address): Upstream | undefined
}

/** An answer may take as long as the longest call, and a little for two ways. */
const firstByteTimeoutMs = limits.callTimeoutMsMax + 20_000

export function createHops({ clock, members, secret, lookup, mayHop }: HopsDeps): Hops {
  const pools = new Map<string, HttpPool>()
  let turn = 0

  const poolOf = ({ hopUrl }: Member): HttpPool => {
    const known = pools.get(hopUrl)
    if (known) return known
    const url = new URL(hopUrl)
    const origin = {
      isSecure: false,
      hostname: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 80),
      host: url.host,
    }
    const pool = createHttpPool({
      connect: () => dialHop(origin, { lookup, mayHop }, refusals),
      connectionsMax: limits.connectionsPerHopMax,
      firstByteTimeoutMs,
      continueTimeoutMs: Number.POSITIVE_INFINITY,
    })
    pools.set(hopUrl, pool)
    return pool
  }

  /** Of gateways that were replaced, nothing is kept. */
  const closeUnused = (): void => {
    if (pools.size <= limits.clusterMembersMax) return
    const used = new Set(members.live().map(({ hopUrl }) => hopUrl))
    for (const [hopUrl, pool] of pools) {
      if (used.has(hopUrl) || pool.inFlight > 0) continue
      pools.delete(hopUrl)
      pool.close()
    }
  }

  /**
   * Goes to one home after the other, as long as nothing of the request can have arrived, or the provider answers the second
   * one from its books.
   */
  const send = (
    provider: Address,
    homes: readonly Member[],
    request: UpstreamRequest,
    handler: UpstreamHandler,
  ) => {
    let exchange: UpstreamExchange | undefined
    let isAborted = false
    let isPaused = false
    let hasHead = false
    const isRepeatable = hasIdempotencyKey(request.rawHeaders)
    const tryNext = ([home, ...others]: readonly Member[]): void => {
      if (!home) {
        handler.onError(unreachable(), true)
        return
      }
      const token = formatHopToken(secret, { provider, ...request }, clock.nowMs())
      exchange = poolOf(home).send(
        { ...request, rawHeaders: [...request.rawHeaders, clusterHopHeader, token] },
        {
          ...handler,
          onHead(status, rawHeaders) {
            hasHead = true
            handler.onHead(status, rawHeaders)
          },
          onError(error, isUntaken = false) {
            const isUnread = !(
              request.body &&
              'readableDidRead' in request.body &&
              request.body.readableDidRead
            )
            if (isUntaken) members.suspect(home.nodeId)
            const mayRepeat = !hasHead && (isUntaken || isRepeatable) && isUnread
            if (mayRepeat && others.length > 0 && !isAborted) tryNext(others)
            else handler.onError(error, isUntaken)
          },
        },
      )
      if (isAborted) exchange.abort()
      else if (isPaused) exchange.pause()
    }
    tryNext(homes)
    closeUnused()
    return {
      pause() {
        isPaused = true
        exchange?.pause()
      },
      resume() {
        isPaused = false
        exchange?.resume()
      },
      abort() {
        isAborted = true
        exchange?.abort()
      },
    }
  }

  return {
    upstreamFor(provider) {
      const known = members.homesOf(provider)
      if (known.length === 0) return undefined
      const first = turn++ % known.length
      const homes = [...known.slice(first), ...known.slice(0, first)]
      return { send: (request, handler) => send(provider, homes, request, handler) }
    },
    [Symbol.dispose]() {
      for (const pool of pools.values()) pool.close()
      pools.clear()
    },
  }
}

function hasIdempotencyKey(rawHeaders: readonly string[]): boolean {
  return rawHeaders.some((name, index) => index % 2 === 0 && name.toLowerCase() === 'idempotency-key')
}

const refusals: DialRefusals = {
  blocked: (hostname) =>
    new ProtocolError('provider_unreachable', `The gateway at ${hostname} is at no address for one.`, {
      hint: 'Send it again later.',
    }),
  tooSlow: (timeoutMs) =>
    new ProtocolError(
      'provider_unreachable',
      `The provider's gateway took no connection within ${timeoutMs} ms.`,
      {
        hint: 'Send it again later, or call another provider.',
      },
    ),
}

function unreachable(): ProtocolError {
  return new ProtocolError('provider_offline', 'The gateways of this provider cannot be reached.', {
    hint: 'Send it again in a few seconds.',
  })
}
