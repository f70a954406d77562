import { assert } from '../../protocol/base/assert.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { clientNetwork } from '../../protocol/http/client-network.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { limits } from '../../protocol/limits.ts'
import { passTokenOf } from '../../protocol/pass.ts'
import { voucherHeader } from '../../protocol/voucher-token.ts'
import { x402Headers } from '../../protocol/x402.ts'
import { createBodyPace, type PacedBody } from './body-pace.ts'
import { type AddressList, createAddressList, findClient } from './client-network.ts'
import { contentKey, createDenyList, type DenyList } from './deny-list.ts'
import type { FrontRules } from './front-rules.ts'
import { type Quota, type QuotaLeft, type QuotaName, quotaNames, rateLimitHeaders } from './quota.ts'
import type { Spend, SpendBook } from './spend-book.ts'
import { createTokenBuckets, type Taken, type TokenBuckets } from './token-buckets.ts'

/** Names of limits, as in `RateLimit` and in metrics. */
export const limitNames = [...quotaNames, 'in-flight', 'connections'] as const
export type LimitName = (typeof limitNames)[number]

/** Who a request comes from, and how it stands with its limits. */
export interface Caller {
  /** The client's address, past proxies that are trusted. */
  readonly address: string
  /** Headers for the answer. */
  readonly headers: () => readonly string[]
  /** The request is over. */
  readonly leave: () => void
}

export interface GuardedProvider {
  readonly name: string
  readonly address: `0x${string}`
}

/** What is known of a call when it is clear whom it is for. */
export interface GuardedCall {
  /** Undefined where one of several is to take it: see `admitProvider`. */
  readonly provider: GuardedProvider | undefined
  /** The deployment's CID as it was written, or whatever stands in its place. */
  readonly cid: string
  readonly headers: IncomingRequest['headers']
}

/**
 * Stands before everything that a gateway does for strangers: who is denied, and who comes too often. All that it
 * remembers is bounded. Its rules can be changed while it stands.
 */
export interface FrontGuard {
  /** @returns what to call when the connection has closed; undefined for one that is not to be taken. */
  admitConnection(address: string): (() => void) | undefined
  /** @throws ProtocolError `client_blocked`, `too_many_requests` with `retryAfterSeconds` and `refusalHeaders` */
  admit(request: Pick<IncomingRequest, 'headers' | 'socket'>): Caller
  /** @throws ProtocolError `blocked_by_gateway`, `too_many_requests` */
  admitCall(caller: Caller, call: GuardedCall): CallTicket
  /** Whether a provider may be one that a call is tried with; its limit counts that. */
  admitProvider(provider: GuardedProvider): boolean
  /**
   * Has `onSlow` called where the body of a caller's request comes too slowly.
   *
   * @returns what to call when that does not matter any more
   */
  watchBody(caller: Caller, body: PacedBody, onSlow: () => void): () => void
  /** Looks at these bodies; to be called about once a second. */
  sweepBodies(): void
  /** What the operator does not serve now. */
  readonly denied: DenyList
  /** What it goes by now. */
  readonly rules: FrontRules
  change(rules: FrontRules): void
  /** Takes off what other gateways, or other processes of this one, let through. */
  charge(spends: readonly Spend[]): void
}

export interface CallTicket {
  /** Whose money paid, as the answer says: `owner`, or a word for the caller's own. */
  onPayer(payer: string): void
}

export interface FrontGuardDeps {
  readonly clock: Clock
  /** Hears of each refusal by a limit. */
  readonly onLimited?: (limit: LimitName) => void
  /**
   * Hears once of somebody for whom no limit holds, who says whom it forwards for and is not believed: most likely a proxy of
   * the operator's own, through which everybody comes unlimited.
   */
  readonly onUntrustedProxy?: (address: string) => void
  /** Where others count the same quotas: what is taken here is noted for them. */
  readonly spent?: SpendBook | undefined
}

interface Client {
  readonly address: string
  readonly network: string
  readonly isExempt: boolean
  readonly isDenied: boolean
}

interface CallerState extends Caller {
  readonly client: Client
  readonly quotas: QuotaLeft[]
}

export function createFrontGuard(
  { clock, onLimited = () => undefined, onUntrustedProxy, spent }: FrontGuardDeps,
  first: FrontRules,
): FrontGuard {
  let rules = first
  let denied = createDenyList(first.deny)
  let trusted: AddressList = createAddressList(first.trustedProxies)
  let exempt: AddressList = createAddressList(first.limits.exempt)
  let buckets = openBuckets(first, undefined)
  /** By the socket's address; who asks often is looked up once. */
  let clients = createRecent<string, Client>(limits.limitClientsCachedMax)
  const contents = createRecent<string, { readonly key: string | undefined }>(limits.contentKeysCachedMax)
  let isProxyTold = false
  const inFlight = createCounts()
  const connections = createCounts()
  const pace = createBodyPace({ clock })

  function openBuckets(next: FrontRules, before: Map<QuotaName, TokenBuckets> | undefined) {
    const { client, ownerPaid, provider, deployment } = next.limits
    const quotas: [QuotaName, Quota | undefined][] = [
      ['client', client],
      ['owner-paid', ownerPaid],
      ['provider', provider],
      ['deployment', deployment],
    ]
    const opened = new Map<QuotaName, TokenBuckets>()
    for (const [name, quota] of quotas) {
      if (!quota) continue
      const kept = before?.get(name)
      const isSame =
        kept?.quota.requests === quota.requests && kept.quota.windowSeconds === quota.windowSeconds
      opened.set(name, isSame && kept ? kept : createTokenBuckets({ clock }, quota, limits.limitKeysMax))
    }
    return opened
  }

  function clientOf(address: string): Client {
    const known = clients.get(address)
    if (known) return known
    const client = {
      address,
      network: clientNetwork(address),
      isExempt: exempt.has(address),
      isDenied: denied.hasClient(address),
    }
    clients.set(address, client)
    return client
  }

  function contentOf(cid: string): string | undefined {
    const known = contents.get(cid)
    if (known) return known.key
    const key = contentKey(cid)
    contents.set(cid, { key })
    return key
  }

  /** Takes from a bucket, or refuses; the caller hears how it stands either way. */
  function spend(name: QuotaName, key: string, { quotas }: Pick<CallerState, 'quotas'>): void {
    const bucket = buckets.get(name)
    const taken = take(name, key)
    if (bucket && taken) note(name, bucket, taken, quotas)
  }

  /** @returns undefined where there is no such quota */
  function take(name: QuotaName, key: string): Taken | undefined {
    const taken = buckets.get(name)?.take(key)
    if (taken?.isTaken) spent?.note(name, key)
    return taken
  }

  function look(name: QuotaName, key: string, { quotas }: Pick<CallerState, 'quotas'>): void {
    const bucket = buckets.get(name)
    if (bucket) note(name, bucket, bucket.look(key), quotas)
  }

  function note(name: QuotaName, { quota }: TokenBuckets, taken: Taken, quotas: QuotaLeft[]): void {
    quotas.push({ name, quota, remaining: taken.remaining, resetSeconds: Math.ceil(taken.resetMs / 1000) })
    if (taken.isTaken) return
    onLimited(name)
    throw limited(name, quota, Math.max(1, Math.ceil(taken.retryMs / 1000)))
  }

  return {
    get denied() {
      return denied
    },
    get rules() {
      return rules
    },
    admitConnection(address) {
      // Whose connection this is, is known only of its requests.
      if (trusted.has(address)) return nothing
      const client = clientOf(address)
      if (client.isExempt) return nothing
      if (connections.enter(client.network, rules.limits.connectionsPerClientMax)) {
        return () => connections.leave(client.network)
      }
      onLimited('connections')
      return undefined
    },
    admit(request) {
      const peer = request.socket.remoteAddress ?? ''
      const forwarded = request.headers['x-forwarded-for']
      const forwardedFor = Array.isArray(forwarded) ? forwarded.join(',') : forwarded
      const client = clientOf(findClient(peer, { forwardedFor, trusted }))
      if (client.isDenied) throw clientBlocked()
      const quotas: QuotaLeft[] = []
      let isCounted = false
      const caller: CallerState = {
        client,
        address: client.address,
        quotas,
        headers: () => rateLimitHeaders(quotas),
        leave() {
          if (isCounted) inFlight.leave(client.network)
          isCounted = false
        },
      }
      if (client.isExempt) {
        if (forwardedFor !== undefined && !isProxyTold && client.address === peer && !trusted.has(peer)) {
          isProxyTold = true
          onUntrustedProxy?.(peer)
        }
        return caller
      }
      try {
        spend('client', client.network, caller)
      } catch (error) {
        throw withHeaders(error, caller)
      }
      isCounted = inFlight.enter(client.network, rules.limits.requestsPerClientMax)
      if (isCounted) return caller
      onLimited('in-flight')
      throw withHeaders(tooManyInFlight(rules.limits.requestsPerClientMax), caller)
    },
    admitCall(caller, { provider, cid, headers }) {
      if (provider) denied.assertProvider(provider)
      const state = caller as CallerState
      assert(state.client !== undefined, 'a caller was admitted by this guard')
      const { client } = state
      const content = client.isExempt && !denied.namesContent ? undefined : contentOf(cid)
      if (content !== undefined) denied.assertContent(content)
      if (client.isExempt) return nobodysTicket
      try {
        if (provider) spend('provider', provider.address, state)
        if (content === undefined) return nobodysTicket
        spend('deployment', content, state)
        const key = `${client.network} ${content}`
        if (!namesPayer(headers)) {
          spend('owner-paid', key, state)
          return nobodysTicket
        }
        // Where only the owner pays, whatever a caller shows counts for nothing: the answer tells.
        const claimed = `${key} claimed`
        look('owner-paid', claimed, state)
        return {
          onPayer(payer) {
            if (payer === 'owner') take('owner-paid', claimed)
          },
        }
      } catch (error) {
        throw withHeaders(error, caller)
      }
    },
    admitProvider(provider) {
      if (denied.hasProvider(provider)) return false
      const taken = take('provider', provider.address)
      if (taken === undefined || taken.isTaken) return true
      onLimited('provider')
      return false
    },
    watchBody(caller, body, onSlow) {
      const { bodyBytesPerSecondMin } = rules.limits
      const isWatched = bodyBytesPerSecondMin > 0 && !(caller as CallerState).client.isExempt
      return isWatched ? pace.watch(body, bodyBytesPerSecondMin, onSlow) : nothing
    },
    sweepBodies: pace.sweep,
    change(next) {
      rules = next
      denied = createDenyList(next.deny)
      trusted = createAddressList(next.trustedProxies)
      exempt = createAddressList(next.limits.exempt)
      buckets = openBuckets(next, buckets)
      clients = createRecent(limits.limitClientsCachedMax)
    },
    charge(spends) {
      for (const [name, key, tokens] of spends) buckets.get(name)?.charge(key, tokens)
    },
  }
}

const nothing = () => undefined
const nobodysTicket: CallTicket = { onPayer: nothing }

/** Whether a caller shows something that is to pay. What is wrong with it the provider finds, and then nobody pays. */
function namesPayer(headers: IncomingRequest['headers']): boolean {
  if (headers[x402Headers.signature] !== undefined || headers[voucherHeader] !== undefined) return true
  const { authorization } = headers
  return typeof authorization === 'string' && passTokenOf(authorization) !== undefined
}

interface Counts {
  /** @returns false where there are as many already. */
  enter(key: string, max: number): boolean
  leave(key: string): void
}

function createCounts(): Counts {
  const counts = new Map<string, number>()
  return {
    enter(key, max) {
      const count = counts.get(key) ?? 0
      if (count >= max) return false
      counts.set(key, count + 1)
      return true
    },
    leave(key) {
      const count = counts.get(key) ?? 0
      if (count > 1) counts.set(key, count - 1)
      else counts.delete(key)
    },
  }
}

/** Lets a refusal carry how its caller stands. */
function withHeaders(error: unknown, caller: Caller): unknown {
  return typeof error === 'object' && error !== null
    ? Object.assign(error, { rawHeaders: caller.headers() })
    : error
}

/** Headers that go with a refusal of the guard. */
export function refusalHeaders(error: unknown): readonly string[] {
  if (typeof error !== 'object' || error === null || !('rawHeaders' in error)) return []
  return error.rawHeaders as readonly string[]
}

const whose: Readonly<Record<QuotaName, string>> = {
  client: 'from your address',
  'owner-paid': 'from your address that its owner pays for',
  provider: 'to this provider',
  deployment: 'to this deployment',
}

function limited(name: QuotaName, quota: Quota, retryAfterSeconds: number): ProtocolError {
  const { requests, windowSeconds } = quota
  return new ProtocolError(
    'too_many_requests',
    `This gateway takes ${requests} requests ${whose[name]} in ${windowSeconds} s.`,
    {
      hint:
        name === 'owner-paid'
          ? `Wait ${retryAfterSeconds} s, or pay for the call yourself: with a pass, a voucher or x402.`
          : `Wait ${retryAfterSeconds} s.`,
      details: { limit: name, retryAfterSeconds },
    },
  )
}

function tooManyInFlight(requestsMax: number): ProtocolError {
  return new ProtocolError(
    'too_many_requests',
    `Your address has ${requestsMax} requests in flight, as many as this gateway takes.`,
    { hint: 'Wait until some have ended.', details: { limit: 'in-flight', retryAfterSeconds: 1 } },
  )
}

function clientBlocked(): ProtocolError {
  return new ProtocolError('client_blocked', 'This gateway does not serve your address.', {
    hint: 'Its operator blocked it. Use another gateway, or ask the operator.',
  })
}
