import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Context, Hono } from 'hono'
import { AggregatorRegistry } from 'prom-client'
import type { Address, PublicClient } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log, LogLevel } from '../protocol/base/log.ts'
import { repeat } from '../protocol/base/repeat.ts'
import { createNameReader } from '../protocol/chain/name-reader.ts'
import { createReputationReader } from '../protocol/chain/reputation-reader.ts'
import { createSeedBlocks } from '../protocol/chain/seed-blocks.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { type MetricsSource, serveMetrics } from '../protocol/http/serve-metrics.ts'
import { createHeliaNode } from '../protocol/ipfs/helia-node.ts'
import { createKeeper, type Keeper } from '../protocol/ipfs/keeper.ts'
import { openBlockstore } from '../protocol/ipfs/open-blockstore.ts'
import { limits } from '../protocol/limits.ts'
import { marketDomain } from '../protocol/typed-data.ts'
import { openCluster, type StartClusterOptions } from './cluster/open-cluster.ts'
import { createGateway, type Gateway, type GatewayOptions } from './gateway.ts'
import type { FrontRules } from './limits/front-rules.ts'
import { createDomainCache } from './names/domain-cache.ts'
import { createTxtLookup, type LookupTxt } from './names/lookup-txt.ts'
import { domainHost } from './names/resolve-host.ts'
import type { GatewayMetrics } from './observe/metrics.ts'
import { createSpecFetcher } from './routing/fetch-spec.ts'
import type { GatewayFault } from './swarm/forge-swarm.ts'
import type { GatewayAcmeOptions } from './tls/acme/acme-options.ts'
import type { CertificateFiles } from './tls/certificate-files.ts'
import { openGatewayTls } from './tls/open-gateway-tls.ts'
import { createTunnelHub, type TunnelHub } from './tunnels/tunnel-hub.ts'
import { listenForHops } from './workers/hop.ts'
import { openWorkers, type Workers } from './workers/open-workers.ts'
import { relayQuotas } from './workers/relay-quotas.ts'
import { createSiblings, withSiblings } from './workers/siblings.ts'

export interface StartGatewayDeps {
  readonly clock: Clock
  readonly log: Log
  /** Reads the chain that the contracts are on. */
  readonly client: PublicClient
  /** How the proofs of custom domains are looked up; by the machine's name servers by default. */
  readonly lookupTxt?: LookupTxt
}

export interface StartGatewayOptions {
  /** Address to listen on. */
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Host under which providers are subdomains; `localhost:<port>` by default. */
  readonly domain?: string
  /** How the world reaches the gateway, where something stands before it. */
  readonly publicUrl?: string
  /** Lets providers be on this machine or in its network. For a market on one machine, never for the internet. */
  readonly allowPrivate: boolean
  /** Blocks, bookkeeping and the node's key. One gateway at a time. */
  readonly dir: string
  readonly contracts: {
    readonly chainId: number
    readonly usdc: Address
    readonly escrow: Address
    readonly registry: Address
  }
  readonly version: string
  readonly fault?: GatewayFault
  /** Between two looks for changed names. */
  readonly pollIntervalMs?: number
  readonly logsCalls?: boolean
  /** Lets several processes share the port; all of them must say so. */
  readonly isShared?: boolean
  /** See `GatewayOptions.balancers`. */
  readonly balancers?: readonly string[]
  /** See `GatewayOptions.drainMs`. */
  readonly drainMs?: number
  /** How long calls in flight may go on when it closes. */
  readonly shutdownTimeoutMs?: number
  /** What strangers may do; what is careful unless given. */
  readonly rules?: FrontRules
  /** Where this very gateway is reached, where several share the domain. */
  readonly nodeUrl?: string
  /** The tunnels of the others. */
  readonly otherGateways?: () => readonly string[]
  /** With this it joins other gateways by NATS. */
  readonly cluster?: StartClusterOptions
  /** With this the gateway ends TLS itself. */
  readonly tls?: StartTlsOptions
  /** Shows metrics where it is given; port 0 takes a free one. */
  readonly metrics?: { readonly host: string; readonly port: number; readonly providers: readonly string[] }
  /** Further processes on the same port, so that they are `count` with this one. */
  readonly workers?: {
    readonly count: number
    readonly rpcUrls: readonly string[]
    readonly logLevel: LogLevel
  }
  /** Exports traces where it is given. */
  readonly tracing?: { readonly url: string; readonly sampleRatio: number }
}

export interface StartTlsOptions {
  /** Files that somebody else keeps, or an authority that gives certificates. */
  readonly from: CertificateFiles | GatewayAcmeOptions
  /** Where the listener without TLS is that leads to the one with it; undefined for none. */
  readonly httpPort?: number
  /** Of `Strict-Transport-Security`; a year by default, 0 for none. */
  readonly hstsSeconds?: number
}

export interface StartedGateway extends Gateway {
  /** Of the listener without TLS, if there is one. */
  readonly httpPort: number | undefined
  /** Looks at once for a newer certificate. Mistakes are in the log, and change nothing. */
  reload(): Promise<void>
  /** Where metrics are; undefined where they are not shown. */
  readonly metricsPort: number | undefined
}

/**
 * Starts a gateway with all its parts: keeper, IPFS node, names, tunnels, proxy. On disposal requests in flight end and
 * the tunnels move first; the stores close last.
 */
export async function startGateway(
  { clock, log, client, lookupTxt }: StartGatewayDeps,
  options: StartGatewayOptions,
  signal: AbortSignal,
): Promise<StartedGateway> {
  await using starting = new AsyncDisposableStack()
  const { contracts, dir, tls: tlsOptions, workers: workersOptions, cluster, ...gatewayOptions } = options
  const isManyfold = workersOptions !== undefined && workersOptions.count > 1
  const market = { chainId: contracts.chainId, escrow: contracts.escrow }

  const blockstore = await openBlockstore(join(dir, 'blocks'))
  const node = starting.use(await createHeliaNode({ blockstore, log }, { dir: join(dir, 'peer') }, signal))
  const poll = options.pollIntervalMs === undefined ? {} : { pollIntervalMs: options.pollIntervalMs }
  const names = createNameReader({ client, clock, log }, { registry: contracts.registry, ...poll })

  const lookup = lookupTxt ?? createTxtLookup()
  const proofs = createDomainCache({ clock, log, lookupTxt: lookup })
  // Opened before the gateway, whose last answers may still lead here.
  const tls =
    tlsOptions &&
    starting.use(
      await openGatewayTls(
        { clock, random: Math.random, log },
        {
          from: tlsOptions.from,
          host: options.host,
          httpPort: tlsOptions.httpPort,
          isShared: options.isShared ?? false,
          ...(options.balancers && { balancers: options.balancers }),
          dir: join(dir, 'tls'),
          domain: domainHost(options.domain ?? 'localhost'),
          isProven: async (host, until) => (await proofs.resolve(host, until)).kind === 'known',
        },
        signal,
      ),
    )

  // The SDK is large: who exports nothing does not load it.
  const tracing = options.tracing && {
    tracer: (await import('./observe/otlp-tracer.ts')).createOtlpTracer({
      ...options.tracing,
      random: Math.random,
      version: options.version,
      instance: options.domain ?? `${options.host}:${options.port}`,
    }),
  }
  let tunnels: TunnelHub | undefined
  // Uploads are signed for this very gateway, whose address is known once it listens.
  let keeper: Keeper | undefined
  // Closed after the gateway, whose last requests may still read from it.
  starting.defer(async () => keeper?.[Symbol.asyncDispose]())
  const fetchSpec = createSpecFetcher({ blockstore, peers: node })
  const ticketKey = randomBytes(32)
  const siblings = starting.use(createSiblings())
  const ownProviders = new Set<Address>()
  const socketDir = isManyfold ? await openSocketDir(starting) : ''
  const homePath = join(socketDir, '0.sock')
  let workers: Workers | undefined
  const relay = relayQuotas({
    own: () => gateway.quotas,
    tellInside: (spends) => workers?.tellSpent(spends),
    onUntold: () => gateway.metrics.countUntold(),
  })
  const toGateway: GatewayOptions = {
    ...gatewayOptions,
    isShared: isManyfold || (options.isShared ?? false),
    sharesQuotas: isManyfold,
    ...(tls && { tls: tls.identity }),
    ...(tlsOptions?.hstsSeconds !== undefined && { hstsSeconds: tlsOptions.hstsSeconds }),
    info: { ...contracts, peers: [...node.addresses], version: options.version },
  }
  const gateway = await createGateway(
    {
      clock,
      log,
      names,
      openTunnels(facts) {
        const hub = createTunnelHub({
          clock,
          log,
          domain: marketDomain(market),
          ...facts,
          ticketKey,
          onPresence(provider, isPresent) {
            if (isPresent) ownProviders.add(provider)
            else ownProviders.delete(provider)
            workers?.notePresence()
          },
        })
        if (isManyfold) tunnels = hub
        return isManyfold
          ? withSiblings(hub, { siblings, has: (provider) => ownProviders.has(provider) })
          : hub
      },
      keeper: keeperRoutes(() => keeper),
      fetchSpec,
      seedBlocks: createSeedBlocks({ client, clock }),
      reputations: createReputationReader(client, { escrow: contracts.escrow, token: contracts.usdc }),
      lookupTxt: lookup,
      findCertificate: tls?.domains?.find,
      ...(cluster && {
        joinCluster({ tunnel, via, words, tunnels: all }) {
          if (!isManyfold) return openCluster({ clock, log, tunnels: all }, cluster, { tunnel, via, words })
          // Each further process tells of its own tunnels, and takes hops itself.
          const own = { clock, log, tunnels: tunnels ?? all }
          return openCluster(own, cluster, { tunnel, via, words: { ...words, quotas: relay.outside } })
        },
      }),
      onRules: (rules) => workers?.setRules(rules),
      ...tracing,
    },
    toGateway,
  )
  // The others still reach keeper and tunnels here while they end what they have.
  let hops: AsyncDisposable | undefined
  starting.defer(async () => hops?.[Symbol.asyncDispose]())
  // All processes leave at the same time: one after the other would take as long for each.
  starting.defer(async () => {
    await Promise.all([gateway[Symbol.asyncDispose](), workers?.[Symbol.asyncDispose]()])
  })
  tls?.onChange((identity) => {
    gateway.setIdentity(identity)
    workers?.setIdentity(identity)
  })
  tls?.leadTo({ domain: domainHost(gateway.domain), port: gateway.url.port })
  keeper = await createKeeper(
    { blockstore, clock, log, isDenied: (cid) => gateway.guard.denied.hasContent(cid) },
    { dir: join(dir, 'keeper'), audience: () => gateway.url.origin, market },
  )
  starting.use(
    repeat(
      { clock, onError: (error) => log.warn('garbage_kept', { error: String(error) }) },
      limits.keeperCollectIntervalMs,
      keeper.collectGarbage,
    ),
  )
  if (isManyfold && tunnels) {
    hops = await listenForHops({ tunnels, serveControl: gateway.serveControl }, homePath)
    // Who else there is, the first process says.
    const { metrics: _metrics, otherGateways: _others, ...rest } = toGateway
    workers = await openWorkers(
      {
        ...{ clock, log, fetchSpec, siblings },
        ownProviders: () => [...ownProviders],
        quotas: cluster ? relay.inside : gateway.quotas,
        onSeen: gateway.seen.hear,
        findCertificate: tls?.domains?.find,
      },
      {
        count: workersOptions.count - 1,
        socketDir,
        homePath,
        start: {
          options: {
            ...rest,
            ...(tls && { tls: tls.identity }),
            ...(options.metrics && { metrics: { providers: options.metrics.providers } }),
            port: gateway.port,
            domain: gateway.domain,
          },
          rpcUrls: workersOptions.rpcUrls,
          tracing: options.tracing,
          pollIntervalMs: options.pollIntervalMs,
          logLevel: workersOptions.logLevel,
          ticketKey,
          ...(cluster && { cluster }),
          hasDomainCertificates: tls?.domains !== undefined,
        },
      },
    )
    // It may have changed while they started.
    workers.setRules(gateway.guard.rules)
    if (tls) workers.setIdentity(tls.identity)
    gateway.presence.onHeard(({ text }) => workers?.tellAnnounced(text))
  }
  const metricsSource = workers ? addUp(gateway.metrics, workers) : gateway.metrics
  const shown = options.metrics && starting.use(await serveMetrics(metricsSource, options.metrics))
  const parts = starting.move()
  return {
    ...gateway,
    httpPort: tls?.httpPort,
    metricsPort: shown?.port,
    reload: async () => tls?.reload(),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Where the processes of one gateway reach each other, and nobody else does. */
async function openSocketDir(starting: AsyncDisposableStack): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-gw-'))
  starting.defer(() => rm(dir, { recursive: true, force: true }))
  return dir
}

/** What all processes have counted, as one. */
function addUp(own: GatewayMetrics, workers: Workers): MetricsSource {
  return {
    async read() {
      const counted = [await own.readJson(), ...(await workers.readMetrics())]
      const registry = AggregatorRegistry.aggregate(counted as object[])
      return { text: await registry.metrics(), type: registry.contentType }
    },
  }
}

/** Hands content requests to the keeper; the moment before it exists is over before anybody knows the port. */
function keeperRoutes(keeper: () => Keeper | undefined): Hono {
  const serve = (c: Context) => {
    const open = keeper()
    if (open) return open.routes().fetch(c.req.raw, c.env)
    throw new ProtocolError('keeper_unreachable', 'The keeper is starting.', { hint: 'Send it again.' })
  }
  return new Hono().all('/ipfs', serve).all('/ipfs/*', serve)
}
