import { createLog } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { connectTunnels, forwardToService } from '../../tunnel-client/index.ts'
import { commonOptions, defineCommand, usageError } from '../command.ts'
import { parseCount } from '../duration.ts'
import { openAccount } from '../keys/account.ts'
import { connectChain } from '../market/chain.ts'
import { findGateway, providerUrl, readGatewayInfo } from '../market/market.ts'
import { accountOptions, marketOptions } from '../market/options.ts'
import { registerTunnel } from '../operate/register-tunnel.ts'
import { createTunnelView } from '../operate/tunnel-view.ts'

export const tunnel = defineCommand({
  usage: 'tunnel',
  details:
    'Anybody can call the URL that it prints, until Ctrl-C; this machine opens no port. The web server is any that speaks\n' +
    'HTTP, and knows nothing of this market: calls are not paid for. A name that nobody has is registered first, by --account.\n' +
    'While the server is down, callers get 502 local_service_down. Where --rpc is not known, the name must be registered.',
  options: {
    to: {
      type: 'string',
      isRequired: true,
      value: '<url>',
      help: 'The web server: http://localhost:3000, or only its port',
    },
    domain: { type: 'string', isRequired: true, value: '<name>', help: 'The name to be called by' },
    'host-header': {
      type: 'string',
      value: '<host>',
      help: 'What the web server sees as Host (default: what callers call)',
    },
    sockets: {
      type: 'string',
      value: '<n>',
      default: String(limits.tunnelSocketsDefault),
      help: 'Connections to the gateway, 1 to 8; one of several may break without a failed request',
    },
    quiet: { type: 'boolean', short: 'q', help: 'No line for each request' },
    verbose: { type: 'boolean', help: 'Log what happens to the connections, as JSON on standard error' },
    yes: { type: 'boolean', short: 'y', help: 'Register without a question' },
    ...accountOptions,
    ...marketOptions,
    ...commonOptions,
    json: { type: 'boolean', help: 'Print events, one JSON object a line, instead of text' },
  },
  examples: [
    'tunnel --to http://localhost:3000 --domain bob',
    'tunnel --to 5173 --domain bob --host-header localhost:5173',
    'tunnel --to 3000 --domain bob --gateway https://market.example --account me --json',
  ],
  async run({ values }, context) {
    const { clock, note, signal } = context
    const service = parseService(values.to)
    const name = parseName(values.domain)
    const sockets = parseCount('sockets', values.sockets, { min: 1, max: limits.tunnelSocketsPerProcessMax })
    const place = await findGateway(values, context)
    const gateway = await readGatewayInfo(place.gateway, signal)
    const account = await openAccount(values, place, context)
    if (place.rpc) {
      const market = { ...place, rpc: place.rpc }
      const client = await connectChain(market, signal)
      await registerTunnel(
        { market, client, name, account, yes: values.yes ?? false, tunnelUrl: gateway.tunnel },
        context,
      )
    }
    const { href: url } = providerUrl(place.gateway, gateway.domain, name)
    const view = createTunnelView(
      { url, service, isQuiet: values.quiet ?? false, isJson: values.json ?? false },
      context,
    )
    const hostHeader = values['host-header']
    using forwarder = forwardToService(
      { clock },
      { service, onRequest: view.onRequest, ...(hostHeader !== undefined && { hostHeader }) },
    )
    await using open = connectTunnels(
      {
        clock,
        random: Math.random,
        log: createLog({ level: values.verbose ? 'info' : 'silent' }),
        proxyEnv: context.env,
        onFailure: view.onFailure,
        onState: view.onState,
      },
      {
        gatewayUrl: gateway.tunnel,
        name,
        account,
        domain: marketDomain({ chainId: place.chainId, escrow: place.contracts.escrow }),
        sockets,
      },
      forwarder.serve,
      // Ctrl-C lets requests in flight end; the tunnel is disposed of then.
      new AbortController().signal,
    )
    await raceSignal(open.connected, signal)
    if (!values.json) {
      const lines = [url, `  to       ${service.origin}`, `  account  ${account.address}`]
      context.print([...lines, `  gateway  ${place.gateway.origin}`].join('\n'), {})
      note('Ctrl-C stops: requests in flight end first.')
    }
    await view.follow(open, signal)
  },
})

/** @throws ProtocolError `usage_invalid` */
function parseService(text: string): URL {
  const written = /^\d+$/.test(text) ? `localhost:${text}` : text
  const withScheme = /^[a-z][a-z+.-]*:\/\//i.test(written) ? written : `http://${written}`
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined
  const isPlain =
    url && url.pathname === '/' && url.search === '' && url.username === '' && url.password === ''
  if (isPlain && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  throw usageError(
    `"${text.slice(0, 80)}" is no web server for --to.`,
    'Write its origin, such as http://localhost:3000, or its port.',
  )
}
