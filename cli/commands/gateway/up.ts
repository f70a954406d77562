import { createReload } from '../../../gateway/config/reload.ts'
import { startGateway } from '../../../gateway/start-gateway.ts'
import { createLog } from '../../../protocol/base/log.ts'
import { assertChain, createChainClient } from '../../../protocol/chain/client.ts'
import { defineCommand } from '../../command.ts'
import { gatewayOptions, readGatewaySettings } from '../../operate/gateway-settings.ts'
import { untilStopped } from '../../operate/until-stopped.ts'
import { version } from '../../version.ts'

export const gatewayUp = defineCommand({
  usage: 'gateway up',
  details:
    'The wildcard-subdomain front door, with a keeper, an IPFS node and tunnels, until Ctrl-C. Put something that ends\n' +
    'TLS before it, and point the domain and *.domain to it. Settings come from flags, then from variables\n' +
    'KHACHAPURI_GATEWAY_…, then from the file of --config: docs/operate-gateway.md lists them.',
  options: gatewayOptions,
  examples: [
    'gateway up --port 8081 --allow-private',
    'gateway up --config gateway.json',
    'gateway up --domain market.example --public-url https://market.example --rpc https://rpc.example --chain-id 8453 --escrow 0x… --registry 0x… --usdc 0x…',
  ],
  async run({ values }, context) {
    const { clock, print, note, signal } = context
    const { settings, dir, configPath } = await readGatewaySettings(values, context)
    const { chain, domain, publicUrl } = settings
    const log = createLog({ level: settings.log.level })
    const client = createChainClient({ chainId: chain.chainId, rpcUrls: [new URL(chain.rpc)] })
    await assertChain(client, chain.chainId, signal)
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
        shutdownTimeoutMs: settings.shutdownTimeoutMs,
        rules: settings,
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
    using _reloads = configPath === undefined ? undefined : context.onReload(() => void reload())
    const { info } = gateway
    print(
      [
        'The gateway is up.',
        `  url        ${gateway.url.href}`,
        `  providers  ${gateway.url.protocol}//<provider>.${gateway.domain}/`,
        `  tunnels    ${info.tunnel}`,
        `  chain      ${chain.chainId} at ${new URL(chain.rpc).origin}`,
      ].join('\n'),
      { url: gateway.url.href, host: gateway.host, port: gateway.port, ...info },
    )
    note('Ctrl-C stops: requests in flight end first.')
    await untilStopped(signal)
  },
})
