import { join } from 'node:path'
import { type Context, Hono } from 'hono'
import type { Address, PublicClient } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { repeat } from '../protocol/base/repeat.ts'
import { createNameReader } from '../protocol/chain/name-reader.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { serveMetrics } from '../protocol/http/serve-metrics.ts'
import { createHeliaNode } from '../protocol/ipfs/helia-node.ts'
import { createKeeper, type Keeper } from '../protocol/ipfs/keeper.ts'
import { openBlockstore } from '../protocol/ipfs/open-blockstore.ts'
import { limits } from '../protocol/limits.ts'
import { marketDomain } from '../protocol/typed-data.ts'
import { createGateway, type Gateway } from './gateway.ts'
import type { FrontRules } from './limits/front-rules.ts'
import { domainHost } from './names/resolve-host.ts'
import { createSpecFetcher } from './routing/fetch-spec.ts'
import type { AcmeOptions } from './tls/acme/acme-options.ts'
import { type CertificateFiles, openCertificateFiles } from './tls/certificate-files.ts'
import { openTls } from './tls/open-tls.ts'
import { openPlainListener, type PlainTarget } from './tls/plain-listener.ts'
import { createTunnelHub } from './tunnels/tunnel-hub.ts'

export interface StartGatewayDeps {
  readonly clock: Clock
  readonly log: Log
  /** Reads the chain that the contracts are on. */
  readonly client: PublicClient
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
  /** Between two looks for changed names. */
  readonly pollIntervalMs?: number
  readonly logsCalls?: boolean
  /** Lets several processes share the port; all of them must say so. */
  readonly isShared?: boolean
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
  /** With this the gateway ends TLS itself. */
  readonly tls?: StartTlsOptions
  /** Shows metrics where it is given; port 0 takes a free one. */
  readonly metrics?: { readonly host: string; readonly port: number; readonly providers: readonly string[] }
  /** Exports traces where it is given. */
  readonly tracing?: { readonly url: string; readonly sampleRatio: number }
}

export interface StartTlsOptions {
  /** Files that somebody else keeps, or an authority that gives certificates. */
  readonly from: CertificateFiles | AcmeOptions
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
  { clock, log, client }: StartGatewayDeps,
  options: StartGatewayOptions,
  signal: AbortSignal,
): Promise<StartedGateway> {
  await using starting = new AsyncDisposableStack()
  const { contracts, dir, tls: tlsOptions, ...gatewayOptions } = options
  const market = { chainId: contracts.chainId, escrow: contracts.escrow }

  const blockstore = await openBlockstore(join(dir, 'blocks'))
  const node = starting.use(await createHeliaNode({ blockstore, log }, { dir: join(dir, 'peer') }, signal))
  const poll = options.pollIntervalMs === undefined ? {} : { pollIntervalMs: options.pollIntervalMs }
  const names = createNameReader({ client, clock, log }, { registry: contracts.registry, ...poll })

  // Opened before the gateway, whose last answers may still lead here.
  let plainTarget: PlainTarget | undefined
  const proofs = new Map<string, string>()
  const plain =
    tlsOptions?.httpPort === undefined
      ? undefined
      : starting.use(
          await openPlainListener({
            host: options.host,
            port: tlsOptions.httpPort,
            isShared: options.isShared ?? false,
            target: () => plainTarget,
          }),
        )
  const tlsDir = join(dir, 'tls')
  const openSource = async (from: StartTlsOptions['from']) => {
    if ('certFile' in from) return openCertificateFiles({ clock, log }, from)
    // Nobody else waits for it to load.
    const { openAcmeSource } = await import('./tls/acme/acme-source.ts')
    return openAcmeSource(
      { clock, random: Math.random, log, proofs },
      { ...from, dir: join(tlsDir, 'acme') },
      signal,
    )
  }
  const tls =
    tlsOptions &&
    starting.use(
      await openTls(
        { clock, log, source: await openSource(tlsOptions.from) },
        { dir: tlsDir, domain: domainHost(options.domain ?? 'localhost') },
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
  // Uploads are signed for this very gateway, whose address is known once it listens.
  let keeper: Keeper | undefined
  // Closed after the gateway, whose last requests may still read from it.
  starting.defer(async () => keeper?.[Symbol.asyncDispose]())
  const gateway = starting.use(
    await createGateway(
      {
        clock,
        log,
        names,
        openTunnels: (facts) => createTunnelHub({ clock, log, domain: marketDomain(market), ...facts }),
        keeper: keeperRoutes(() => keeper),
        fetchSpec: createSpecFetcher({ blockstore, peers: node }),
        ...tracing,
      },
      {
        ...gatewayOptions,
        ...(tls && { tls: tls.identity }),
        ...(tlsOptions?.hstsSeconds !== undefined && { hstsSeconds: tlsOptions.hstsSeconds }),
        info: { ...contracts, peers: [...node.addresses], version: options.version },
      },
    ),
  )
  tls?.onChange(gateway.setIdentity)
  plainTarget = { domain: domainHost(gateway.domain), port: gateway.url.port }
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
  const shown = options.metrics && starting.use(await serveMetrics(gateway.metrics, options.metrics))
  const parts = starting.move()
  return {
    ...gateway,
    httpPort: plain?.port,
    metricsPort: shown?.port,
    reload: async () => tls?.reload(),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
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
