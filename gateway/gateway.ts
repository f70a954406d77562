import type { IncomingMessage, ServerResponse } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import type { Hono } from 'hono'
import { type Address, getAddress } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { repeat } from '../protocol/base/repeat.ts'
import type { ReputationReader } from '../protocol/chain/reputation-reader.ts'
import type { SeedBlocks } from '../protocol/chain/seed-blocks.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { GatewayInfo } from '../protocol/gateway.ts'
import { type Lookup, lookupWithSystem } from '../protocol/http/dial-checked.ts'
import { listen } from '../protocol/http/listen.ts'
import type { IncomingRequest, OutgoingResponse } from '../protocol/http/listener.ts'
import type { FindCertificate, TlsIdentity } from '../protocol/http/secure-server.ts'
import { limits } from '../protocol/limits.ts'
import { type Name, type NameReader, parseName } from '../protocol/name.ts'
import type { Cluster } from './cluster/cluster.ts'
import { mergeDeny } from './cluster/merge-deny.ts'
import type { ClusterWords } from './cluster/shared-words.ts'
import { type CallCount, createCallBook } from './dashboard/call-book.ts'
import { createApp, exampleUrl } from './http/app.ts'
import { isBalancerOf } from './limits/client-network.ts'
import type { DenySettings } from './limits/deny-list.ts'
import { createFrontGuard, type FrontGuard } from './limits/front-guard.ts'
import { type FrontRules, frontRulesDefault } from './limits/front-rules.ts'
import { createSpendBook, type SharedQuotas } from './limits/spend-book.ts'
import { createDomainCache } from './names/domain-cache.ts'
import type { LookupTxt } from './names/lookup-txt.ts'
import { createNameCache, type NameCache } from './names/name-cache.ts'
import { domainHost } from './names/resolve-host.ts'
import { type CallTracer, createPlainTracer } from './observe/call-tracer.ts'
import { createGatewayMetrics, type GatewayMetrics } from './observe/metrics.ts'
import { createObserver } from './observe/observer.ts'
import { createPresence, type Presence } from './presence/presence.ts'
import { createDataPlane } from './proxy/data-plane.ts'
import { createFindWay } from './proxy/find-way.ts'
import { createProviderRoutes, type TunnelDirectory } from './proxy/provider-routes.ts'
import { createHandlers, type GatewayHandlers, type TunnelDoor } from './route-requests.ts'
import { createServingReader, type ServingDeps } from './routing/find-servers.ts'
import { createRouter } from './routing/router.ts'
import { forgeSwarm, type GatewayFault } from './swarm/forge-swarm.ts'
import { createSwarmRecords, type SwarmRecord, toSwarmRecord } from './swarm/swarm-records.ts'
import { strictTransport } from './tls/strict-transport.ts'

/** The tunnels of one gateway; `TunnelHub` is one. */
export interface GatewayTunnels extends TunnelDirectory, TunnelDoor, AsyncDisposable {
  /** Whether a tunnel of this provider stands at this moment. */
  hasTunnel(provider: Address): boolean
  connected(): readonly { readonly provider: Address }[]
  /** Closes the tunnels of this provider that belong to somebody else by now. */
  recheck(provider: Address, signal: AbortSignal): Promise<void>
  /** Asks providers to dial elsewhere, and waits until no request is in flight. */
  drain(signal: AbortSignal): Promise<void>
}

/** What tunnels need to know of the gateway that they lead to. */
export interface TunnelFacts {
  /** Host, and port unless it is the scheme's own, by which providers dial this gateway. */
  readonly gatewayHost: string
  /** Asks the chain. */
  readonly resolveProvider: (
    name: string,
    signal: AbortSignal,
  ) => Promise<{ readonly address: Address; readonly name: string } | undefined>
}

export interface GatewayDeps {
  readonly clock: Clock
  readonly log: Log
  readonly names: NameReader
  /** Makes the tunnels; the gateway owns them. */
  readonly openTunnels: (facts: TunnelFacts) => GatewayTunnels
  /** Serves the gateway's own pages in place of this process, which then has none. */
  readonly serveControl?: (request: IncomingRequest, response: OutgoingResponse) => void
  /** Joins other gateways with the same names; the gateway owns what it makes. */
  readonly joinCluster?: (facts: ClusterFacts) => Promise<Cluster>
  /** Certificates for domains of others, where the gateway ends TLS itself. */
  readonly findCertificate?: FindCertificate | undefined
  /** Hears what holds for strangers from now on, what other gateways deny included. */
  readonly onRules?: (rules: FrontRules) => void
  /** Routes of a keeper, mounted on the gateway's own host. */
  readonly keeper?: Hono
  /** The bytes of a deployment's spec; absent where the gateway has no content, and then knows nobody for `any`. */
  readonly fetchSpec?: ServingDeps['fetchSpec']
  /** What members of swarms are drawn with; absent where the gateway runs none. */
  readonly seedBlocks?: Pick<SeedBlocks, 'latest'>
  /** How reputations are read; absent where the gateway does not read the chain itself. */
  readonly reputations?: ReputationReader
  /** How the proofs of custom domains are looked up; absent where the gateway answers for no domain but its own. */
  readonly lookupTxt?: LookupTxt
  /** Uniform in [0, 1); for the choice among providers. */
  readonly random?: () => number
  /** How names in `server` records are looked up; the machine's resolver by default. */
  readonly lookup?: Lookup
  /** Exports traces; the gateway owns it. None are exported unless given. */
  readonly tracer?: CallTracer
}

/** What a cluster needs to know of one of its gateways. */
export interface ClusterFacts {
  readonly tunnels: Pick<GatewayTunnels, 'upstreamFor' | 'hasTunnel' | 'connected'>
  /** Where providers dial this gateway. */
  readonly tunnel: string
  /** Its name in `Via`. */
  readonly via: string
  readonly words: ClusterWords
}

export interface GatewayOptions {
  /** Address to listen on. */
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Host under which providers are subdomains, with its port; `localhost:<port>` by default. */
  readonly domain?: string
  /** How the world reaches the gateway, where something stands before it; `http://<domain>` by default. */
  readonly publicUrl?: string
  /**
   * Where this very gateway is reached, where several share `domain` and `publicUrl`: tunnels and other gateways dial it;
   * `publicUrl` by default.
   */
  readonly nodeUrl?: string
  /** Other gateways with the same names, by the URLs of their tunnels; they may change. Providers dial them, too. */
  readonly otherGateways?: () => readonly string[]
  /** Lets providers be on this machine or in its network. For a market on one machine, never for the internet. */
  readonly allowPrivate?: boolean
  /** One line in the log per call; yes by default. */
  readonly logsCalls?: boolean
  /** With this the gateway ends TLS itself, and its `publicUrl` is `https://<domain>` by default. */
  readonly tls?: TlsIdentity
  /** Of `Strict-Transport-Security`; a year by default, 0 for none. */
  readonly hstsSeconds?: number
  /** Lets several processes share the port. */
  readonly isShared?: boolean
  /** Of this process; `listenerConnectionsMax` by default. Where there are as many, who never asked for anything goes. */
  readonly connectionsMax?: number
  /** Addresses and networks of load balancers that say whose each connection is (PROXY protocol); none by default. */
  readonly balancers?: readonly string[]
  /**
   * How long it goes on serving after it was asked to stop, while `/readyz` says 503 and each answer is the last of its
   * connection; 0 by default.
   */
  readonly drainMs?: number
  readonly shutdownTimeoutMs?: number
  /** Lies on purpose, on development chains only. */
  readonly fault?: GatewayFault
  /** What strangers may do; what is careful unless given. */
  readonly rules?: FrontRules
  /** Whether other processes count the same quotas: see `Gateway.quotas`. */
  readonly sharesQuotas?: boolean
  /** Measures the process, too, and counts these providers one by one. */
  readonly metrics?: { readonly providers: readonly string[] }
  /** What `/_/info` says beside addresses of the gateway itself. */
  readonly info: Pick<GatewayInfo, 'chainId' | 'escrow' | 'registry' | 'usdc' | 'peers' | 'version'>
}

/** What one process of a gateway tells the first one of its calls. */
export interface SeenCalls {
  readonly calls: readonly CallCount[]
  readonly swarms: readonly SwarmRecord[]
}

/** Disposal takes no more requests, lets those in flight finish, then closes tunnels and connections. */
export interface Gateway extends AsyncDisposable {
  /** The gateway's own origin, for people. */
  readonly url: URL
  /** Host under which providers are subdomains. */
  readonly domain: string
  /** Where it listens; what tests connect to, as Node does not look up subdomains of localhost. */
  readonly host: string
  readonly port: number
  readonly info: GatewayInfo
  /** Who and what is refused, which may change. */
  readonly guard: Pick<FrontGuard, 'change' | 'denied' | 'rules'>
  /** Shows another certificate from the next connection on. Only where it ends TLS itself. */
  setIdentity(identity: TlsIdentity): void
  readonly metrics: GatewayMetrics
  /** What it counts together with others. Empty unless it has been told that there are any. */
  readonly quotas: SharedQuotas
  /** Who is there. What other processes have taken is heard here, too. */
  readonly presence: Pick<Presence, 'onHeard'> & { hear(text: string): void }
  /** What came of calls here, since it was taken last, for the process that has the pages; there, what others have seen. */
  readonly seen: { take(): SeenCalls; hear(seen: SeenCalls): void }
  /** Serves a request for the gateway's own pages that came another way. */
  serveControl(request: IncomingRequest, response: OutgoingResponse): void
}

/**
 * Starts a gateway: names, routes and pages behind one listener. If a part fails to start, those before it are closed.
 *
 * @throws `port_taken`, `config_invalid`
 */
export async function createGateway(deps: GatewayDeps, options: GatewayOptions): Promise<Gateway> {
  await using starting = new AsyncDisposableStack()
  const { clock, log } = deps
  const { drainMs = 0 } = options
  const closed = new AbortController()
  let isReady = true

  // Disposed last: what ends while the gateway closes is told, too.
  const tracer = starting.use(deps.tracer ?? createPlainTracer())
  const seen = { connections: () => 0, tunnels: () => 0, tunnelledProviders: () => 0, names: () => 0 }
  let cluster: Cluster | undefined
  const metrics = createGatewayMetrics(
    {
      connections: () => seen.connections(),
      tunnels: () => seen.tunnels(),
      tunnelledProviders: () => seen.tunnelledProviders(),
      names: () => seen.names(),
      isInCluster: () => cluster?.isConnected() ?? false,
      isReady: () => isReady,
    },
    { providers: options.metrics?.providers ?? [], withProcess: options.metrics !== undefined },
  )
  // Who serves no pages of its own tells who does.
  const calls = createCallBook({ isTold: deps.serveControl !== undefined })
  const swarms = createSwarmRecords({ clock })
  const untoldSwarms: SwarmRecord[] = []
  let isKnown: (name: string) => boolean = () => false
  const counted: Pick<GatewayMetrics, 'beginRequest' | 'countRequest'> = {
    beginRequest: metrics.beginRequest,
    countRequest(request) {
      metrics.countRequest(request)
      calls.note(request, isKnown)
    },
  }
  const observer = createObserver(
    { clock, log, tracer, metrics: counted },
    { logsCalls: options.logsCalls ?? true },
  )
  let ownRules = options.rules ?? frontRulesDefault
  let othersDeny: readonly DenySettings[] = []
  const spent =
    deps.joinCluster || options.sharesQuotas ? createSpendBook({ onUntold: metrics.countUntold }) : undefined
  const guard = createFrontGuard(
    {
      clock,
      spent,
      onLimited: metrics.countLimited,
      onUntrustedProxy: (proxy) =>
        log.warn('proxy_untrusted', {
          proxy,
          hint: 'If it is yours, name it in trustedProxies: no limit holds for it.',
        }),
    },
    ownRules,
  )
  const quotas: SharedQuotas = { takeSpent: () => spent?.take() ?? [], charge: guard.charge }
  const applyRules = () => {
    guard.change({ ...ownRules, deny: mergeDeny(ownRules.deny, othersDeny) })
    deps.onRules?.(guard.rules)
  }

  // The port is known only once the listener stands; no request is read before this function goes on.
  let handlers: GatewayHandlers | undefined
  const listener = starting.use(
    await listen({
      ...options,
      admitConnection: guard.admitConnection,
      findCertificate: deps.findCertificate,
      isBalancer: isBalancerOf(options.balancers),
      onRequest: (request, response) => handlers?.onRequest(request, response, false),
      onExpectContinue: (request, response) => handlers?.onRequest(request, response, true),
      onUpgrade: (request, socket, head) => handlers?.onUpgrade(request, socket, head),
    }),
  )
  const place = describePlace(options, listener.port)
  const { url, domain, info } = place
  seen.connections = () => listener.connections

  let recheckTunnels: (provider: Address) => void = () => undefined
  const names = starting.use(
    createNameCache(
      { clock, log, reader: deps.names },
      { onAccountChanged: ({ address }) => recheckTunnels(address) },
    ),
  )
  isKnown = (name) => {
    const answer = names.peek(name as Name)
    return answer?.kind === 'known' && answer.record.kind === 'provider'
  }
  const tunnels = starting.use(
    deps.openTunnels({ gatewayHost: place.nodeUrl.host, resolveProvider: resolveWith(names) }),
  )
  const presence = createPresence(
    { clock, log, names },
    { market: options.info, hosts: [url.host, domain, place.nodeUrl.host] },
  )
  const hearAnnounced = (text: string) => {
    presence.hear(text, closed.signal).catch((error) => {
      log.debug('announcement_refused', { error: String(error) })
    })
  }
  if (deps.joinCluster) {
    cluster = starting.use(
      await deps.joinCluster({
        tunnels,
        tunnel: info.tunnel,
        via: domain,
        words: {
          deny: ownRules.deny,
          onDeny(others) {
            othersDeny = others
            applyRules()
          },
          onAnnounced: hearAnnounced,
          quotas,
        },
      }),
    )
  }
  presence.onHeard(({ provider, text, isOwn }) => {
    if (isOwn) cluster?.tellAnnounced(provider, text)
  })
  seen.names = () => names.known().length
  seen.tunnels = () => tunnels.connected().length
  seen.tunnelledProviders = () => new Set(tunnels.connected().map(({ provider }) => provider)).size
  recheckTunnels = (provider) => {
    tunnels.recheck(provider, closed.signal).catch((error) => {
      log.warn('tunnels_recheck_failed', { provider, error: String(error) })
    })
  }
  const routes = starting.use(
    createProviderRoutes(cluster ? withCluster(tunnels, cluster) : tunnels, {
      allowPrivate: options.allowPrivate ?? false,
      lookup: deps.lookup ?? lookupWithSystem,
      ownHosts: [domain, url.host, place.nodeUrl.host],
    }),
  )
  const { fetchSpec, lookupTxt, random = Math.random } = deps
  const domains = lookupTxt && createDomainCache({ clock, log, lookupTxt })
  const serving = fetchSpec && createServingReader({ clock, fetchSpec })
  const router = starting.use(
    createRouter({
      ...{ clock, log, random, names, presence, routes, admitProvider: guard.admitProvider },
      hasTunnel: tunnels.hasTunnel,
      market: { chainId: options.info.chainId, escrow: getAddress(options.info.escrow) },
      seedBlocks: deps.seedBlocks,
      reputations: deps.reputations,
      onSwarm(swarm) {
        const record = toSwarmRecord(swarm, { clock })
        if (deps.serveControl) untoldSwarms.push(record)
        else swarms.put(record)
      },
      ...(options.fault === 'forge-swarm' && { forgeSwarm }),
      ...(serving && { serving }),
    }),
  )
  starting.defer(() => closed.abort(new Error('The gateway has closed.')))
  starting.use(
    repeat(
      { clock, onError: (error) => log.error('bodies_unwatched', { error: String(error) }) },
      limits.bodyPaceIntervalMs,
      async () => guard.sweepBodies(),
    ),
  )

  const app = createApp({
    clock,
    log,
    info,
    names,
    presence,
    ...{ calls, swarms, factsOf: router.factsOf },
    otherGateways: cluster?.otherGateways ?? options.otherGateways ?? (() => []),
    domains,
    tunnelledProviders: () => tunnels.connected().map(({ provider }) => provider),
    isReady: () => isReady,
    abuse: () => guard.rules.abuse,
    keeper: deps.keeper,
    hsts: place.hsts,
  })
  const ownPages = getRequestListener(app.fetch, {
    overrideGlobalObjects: false,
    hostname: place.domainHost,
  })
  const servePages: Gateway['serveControl'] = (request, response) =>
    void ownPages(request as IncomingMessage, response as ServerResponse)
  const serveControl = deps.serveControl ?? servePages
  handlers = createHandlers({
    host: place.domainHost,
    nodeHost: place.nodeUrl.hostname,
    exampleUrl: `${exampleUrl(info, '<provider>')}<cid>`,
    dataPlane: createDataPlane(
      { log, findWay: createFindWay({ names, routes, router, domains }), guard },
      { ...place, origin: url.origin },
    ),
    serveControl,
    tunnels,
    guard,
    observer,
    signal: closed.signal,
  })
  // The first thing to close: nothing new comes in, and what is in flight still needs all that stands above.
  starting.defer(async () => {
    isReady = false
    const deadline = AbortSignal.timeout(options.shutdownTimeoutMs ?? limits.shutdownTimeoutMs)
    const drained = tunnels
      .drain(deadline)
      .catch((error) => log.warn('drain_cut_short', { error: String(error) }))
    if (drainMs > 0) {
      // Whoever stands before this looks at /readyz now and then, and callers have connections that are open.
      listener.leave()
      await clock.sleep(drainMs, deadline).catch(() => undefined)
    }
    await Promise.all([listener[Symbol.asyncDispose](), drained])
  })

  log.info('gateway_started', { url: url.href, port: listener.port })
  const parts = starting.move()
  return {
    url,
    domain,
    host: listener.host,
    port: listener.port,
    info,
    guard: {
      change(rules) {
        ownRules = rules
        applyRules()
        cluster?.tellDeny(rules.deny)
      },
      get denied() {
        return guard.denied
      },
      get rules() {
        return guard.rules
      },
    },
    setIdentity: (identity) => listener.setIdentity(identity),
    metrics,
    quotas,
    presence: { hear: hearAnnounced, onHeard: presence.onHeard },
    seen: {
      take: () => ({ calls: calls.take(), swarms: untoldSwarms.splice(0) }),
      hear(seenThere) {
        calls.add(seenThere.calls)
        for (const record of seenThere.swarms) swarms.put(record)
      },
    },
    serveControl,
    async [Symbol.asyncDispose]() {
      await parts.disposeAsync()
      log.info('gateway_stopped')
    },
  }
}

/** Tunnels of this gateway come first; the others are one hop further. */
function withCluster(tunnels: GatewayTunnels, cluster: Cluster): TunnelDirectory {
  return {
    upstreamFor(provider) {
      if (tunnels.hasTunnel(provider)) return tunnels.upstreamFor(provider)
      // Where nobody has one, it may come back here in a moment.
      return cluster.upstreamFor(provider) ?? tunnels.upstreamFor(provider)
    },
  }
}

/** Where the gateway is, as seen from outside. */
interface Place {
  readonly url: URL
  readonly nodeUrl: URL
  readonly domain: string
  readonly domainHost: string
  readonly proto: 'http' | 'https'
  /** The header's value; undefined for none. */
  readonly hsts: string | undefined
  readonly info: GatewayInfo
}

/** @throws `config_invalid` */
function describePlace(options: GatewayOptions, port: number): Place {
  const domain = (options.domain ?? `localhost:${port}`).toLowerCase()
  const publicUrl = options.publicUrl ?? `${options.tls ? 'https' : 'http'}://${domain}`
  const url = parseOrigin(publicUrl)
  const nodeUrl = options.nodeUrl === undefined ? url : parseOrigin(options.nodeUrl)
  const tunnel = new URL('/_/tunnel', nodeUrl)
  tunnel.protocol = nodeUrl.protocol === 'https:' ? 'wss:' : 'ws:'
  return {
    url,
    nodeUrl,
    domain,
    domainHost: domainHost(domain),
    proto: url.protocol === 'https:' ? 'https' : 'http',
    hsts:
      options.tls && strictTransport(domainHost(domain), options.hstsSeconds ?? limits.hstsSecondsDefault),
    info: { ...options.info, domain, keeper: url.href, tunnel: tunnel.href },
  }
}

/** @throws `config_invalid` */
function parseOrigin(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && (url.protocol === 'http:' || url.protocol === 'https:') && url.pathname === '/') return url
  throw new ProtocolError('config_invalid', `"${text}" is not where a gateway can be.`, {
    hint: 'Give its origin, such as https://gateway.example.',
  })
}

/** Tunnels ask the chain, as a name may have changed hands a moment ago. */
function resolveWith(names: NameCache): TunnelFacts['resolveProvider'] {
  return async (name, signal) => {
    const answer = await names.refresh(parseName(name), signal)
    return answer.kind === 'known' && answer.record.kind === 'provider' ? answer.record : undefined
  }
}
