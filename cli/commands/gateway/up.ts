import type { StartClusterOptions } from '../../../gateway/cluster/open-cluster.ts'
import { createReload } from '../../../gateway/config/reload.ts'
import { type GatewaySettings, rpcUrlsOf } from '../../../gateway/config/settings.ts'
import { domainHost } from '../../../gateway/names/resolve-host.ts'
import { type StartTlsOptions, startGateway } from '../../../gateway/start-gateway.ts'
import { gatewayFaults, parseGatewayFault } from '../../../gateway/swarm/forge-swarm.ts'
import { createLog } from '../../../protocol/base/log.ts'
import { assertChain, createChainClient } from '../../../protocol/chain/client.ts'
import { defineCommand } from '../../command.ts'
import { gatewayOptions, readGatewaySettings } from '../../operate/gateway-settings.ts'
import { untilStopped } from '../../operate/until-stopped.ts'
import { resolvePath } from '../../project/packed-program.ts'
import { version } from '../../version.ts'

export const gatewayUp = defineCommand({
  usage: 'gateway up',
  details:
    'The wildcard-subdomain front door, with a keeper, an IPFS node and tunnels, until Ctrl-C. Point the domain and\n' +
    '*.domain to it, and give it a certificate for both, or put something that ends TLS before it. Settings come from\n' +
    'flags, then from variables KHACHAPURI_GATEWAY_…, then from the file of --config: docs/operate-gateway.md lists them.\n' +
    'A changed certificate is shown by itself, and at once after SIGHUP; connections that are open go on.',
  options: {
    ...gatewayOptions,
    fault: {
      type: 'string',
      value: '<name>',
      help: `Lie on purpose, on development chains only: ${gatewayFaults.join(', ')}`,
    },
  },
  examples: [
    'gateway up --port 8081 --allow-private',
    'gateway up --config gateway.json',
    'gateway up --port 443 --http-port 80 --domain market.example --tls-cert fullchain.pem --tls-key privkey.pem',
    'gateway up --port 443 --http-port 80 --domain market.example --acme --acme-hook ./dns-hook.sh',
    'gateway up --domain market.example --public-url https://market.example --rpc https://rpc.example --chain-id 8453 --escrow 0x… --registry 0x… --usdc 0x…',
  ],
  async run({ values }, context) {
    const { clock, print, note, signal } = context
    const { settings, dir, configPath } = await readGatewaySettings(values, context)
    const { chain, domain, publicUrl, metrics, tracing } = settings
    const tls = tlsOptions(settings, context.cwd)
    const cluster = clusterOptions(settings)
    const fault = values.fault === undefined ? undefined : parseGatewayFault(values.fault, chain.chainId)
    const log = createLog({ level: settings.log.level })
    const rpcUrls = rpcUrlsOf(chain.rpc)
    const client = createChainClient({ chainId: chain.chainId, rpcUrls })
    await assertChain(client, chain.chainId, signal)
    if (tls && !('certFile' in tls.from))
      note('Without a certificate yet, the first one is ordered now; that may take a minute.')
    await using gateway = await startGateway(
      { clock, log, client },
      {
        host: settings.host,
        port: settings.port,
        allowPrivate: settings.allowPrivate,
        dir,
        contracts: chain,
        version,
        logsCalls: settings.log.calls,
        isShared: settings.sharePort,
        balancers: settings.balancers,
        workers: {
          count: settings.workers,
          rpcUrls: rpcUrls.map(({ href }) => href),
          logLevel: settings.log.level,
        },
        drainMs: settings.drainMs,
        shutdownTimeoutMs: settings.drainMs + settings.shutdownTimeoutMs,
        rules: settings,
        otherGateways: () => settings.fleet.gateways,
        ...(fault && { fault }),
        ...(cluster && { cluster }),
        ...(settings.fleet.nodeUrl !== undefined && { nodeUrl: new URL(settings.fleet.nodeUrl).origin }),
        ...(tls && { tls }),
        ...(metrics.port !== undefined && { metrics: { ...metrics, port: metrics.port } }),
        ...(tracing.url !== undefined && { tracing: { ...tracing, url: tracing.url } }),
        ...(domain !== undefined && { domain }),
        ...(publicUrl !== undefined && { publicUrl: new URL(publicUrl).origin }),
      },
      signal,
    )
    const reload = createReload({
      log,
      read: async () => (await readGatewaySettings(values, context)).settings,
      apply: gateway.guard.change,
      first: settings,
    })
    // Without a file there is nothing to read again, and a hang-up is one.
    using _reloads =
      configPath === undefined && !tls
        ? undefined
        : context.onReload(() => {
            if (configPath !== undefined) void reload()
            void gateway.reload()
          })
    const { info, httpPort } = gateway
    print(
      [
        'The gateway is up.',
        `  url        ${gateway.url.href}`,
        `  providers  ${gateway.url.protocol}//<provider>.${gateway.domain}/`,
        `  tunnels    ${info.tunnel}`,
        `  chain      ${chain.chainId} at ${rpcUrls.map(({ origin }) => origin).join(', ')}`,
        ...(httpPort === undefined ? [] : [`  http       port ${httpPort}, led to https`]),
        ...(gateway.metricsPort === undefined
          ? []
          : [`  metrics    http://${metrics.host}:${gateway.metricsPort}/metrics`]),
      ].join('\n'),
      {
        url: gateway.url.href,
        host: gateway.host,
        port: gateway.port,
        ...(httpPort !== undefined && { httpPort }),
        ...(gateway.metricsPort !== undefined && { metricsPort: gateway.metricsPort }),
        ...info,
      },
    )
    note('Ctrl-C stops: requests in flight end first.')
    await untilStopped(signal)
  },
})

/** Which settings go together, their schema has checked. */
function tlsOptions({ tls, domain }: GatewaySettings, cwd: string): StartTlsOptions | undefined {
  const { cert, key, acme, httpPort, hstsSeconds } = tls
  const rest = { hstsSeconds, ...(httpPort !== undefined && { httpPort }) }
  if (acme.enabled && domain !== undefined) {
    const { directory, email, hook, providers, domainsPerHour } = acme
    const from = {
      directoryUrl: directory,
      domain: domainHost(domain),
      providers,
      domainsPerHour,
      ...(email !== undefined && { email }),
      ...(hook && { hook }),
    }
    return { from, ...rest }
  }
  if (cert !== undefined && key !== undefined) {
    return { from: { certFile: resolvePath(cwd, cert), keyFile: resolvePath(cwd, key) }, ...rest }
  }
  return undefined
}

function clusterOptions({ fleet }: GatewaySettings): StartClusterOptions | undefined {
  const { cluster, homes, hopHost, hopPort, hopUrl, hopNetworks } = fleet
  if (cluster.length === 0) return undefined
  return { servers: cluster, homes, hopHost, hopPort, hopNetworks, ...(hopUrl !== undefined && { hopUrl }) }
}
