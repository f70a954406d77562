import { createLog } from '../../../protocol/base/log.ts'
import { isDevChain } from '../../../protocol/dev-chain.ts'
import { type EgressOffer, egressOffers } from '../../../protocol/egress.ts'
import { limits } from '../../../protocol/limits.ts'
import { parseName } from '../../../protocol/name.ts'
import { formatUsdc, parseUsdc } from '../../../protocol/usdc.ts'
import { faults, parseFault } from '../../../provider/faults.ts'
import { readPolicy, writePolicy } from '../../../provider/policy/policy-file.ts'
import { createProvider } from '../../../provider/provider.ts'
import { changeSettings, readSettings } from '../../../provider/settings.ts'
import { defineCommand, usageError } from '../../command.ts'
import { parseCount, parseDuration } from '../../duration.ts'
import { providerUrl, readGatewayInfo } from '../../market/market.ts'
import { openMarket } from '../../market/open.ts'
import { accountOptions, marketOptions } from '../../market/options.ts'
import { announceOptions, parseAnnounce } from '../../operate/announce.ts'
import { priceDefault } from '../../operate/default-price.ts'
import { nativeOptions, parseNative } from '../../operate/native.ts'
import { assertObtainable, prepareName } from '../../operate/prepare-name.ts'
import { needsNewAccount, openProviderAccount } from '../../operate/provider-account.ts'
import { providerDir, providerOptions } from '../../operate/provider-dir.ts'
import { parseReach, reachOptions, savedEndpoint } from '../../operate/reach.ts'
import { parseSpending, spendingOptions } from '../../operate/spending.ts'
import { untilStopped } from '../../operate/until-stopped.ts'
import { version } from '../../version.ts'

const devMirrorIntervalMs = 200

export const providerUp = defineCommand({
  usage: 'provider up',
  details:
    'Makes what is missing and serves until Ctrl-C: an account, a key that secrets are sealed for, a Resolver, the\n' +
    'registration of the name. Everything is kept in --dir: whoever has it can take the money and read the secrets.\n' +
    'Without --port the provider opens no port: callers reach it through the tunnel of the gateway.',
  options: {
    domain: {
      type: 'string',
      isRequired: true,
      value: '<name>',
      help: 'The name to register and serve under',
    },
    price: {
      type: 'string',
      value: '<usdc>',
      help: `Price of one call (default: what "provider price" said, or ${priceDefault})`,
    },
    ...reachOptions,
    notice: {
      type: 'string',
      value: '<time>',
      default: '48h',
      help: 'How long it needs to settle after a grant has ended; grants with less are refused',
    },
    dir: providerOptions.dir,
    ...spendingOptions,
    ...nativeOptions,
    capacity: {
      type: 'string',
      value: '<MiB>',
      help: 'Memory that all programs together may hold (default: what "provider policy" said, or no bound)',
    },
    'from-block': {
      type: 'string',
      value: '<n>',
      default: '0',
      help: 'Where to begin to read grants: the block of the escrow',
    },
    egress: {
      type: 'string',
      value: egressOffers.join('|'),
      default: 'listed',
      help: 'The most that programs may reach: nothing, what their deployments list, all public servers',
    },
    'egress-private': {
      type: 'boolean',
      help: 'Let programs reach this machine and its network, on development chains only',
    },
    fault: {
      type: 'string',
      value: '<name>',
      help: `Misbehave on purpose, on development chains only: ${faults.join(', ')}`,
    },
    'metrics-port': {
      type: 'string',
      value: '<n>',
      help: 'Show metrics for Prometheus at http://127.0.0.1:<n>/metrics; 0 takes a free port',
    },
    ...announceOptions,
    verbose: { type: 'boolean', help: 'Log what happens, as JSON on standard error' },
    yes: { type: 'boolean', short: 'y', help: 'Register without a question' },
    ...accountOptions,
    ...marketOptions,
  },
  examples: [
    'provider up --domain bob',
    'provider up --domain carol --tunnel ws://localhost:8080/_/tunnel --price 0.0005',
    'provider up --domain bob --native',
    'provider up --domain bob --region eu-central',
    'provider up --domain dave --host 0.0.0.0 --port 8402 --public-url https://dave.example',
  ],
  async run({ values }, context) {
    const name = parseName(values.domain)
    const wantedUsdc = values.price === undefined ? undefined : parseUsdc(values.price)
    const noticeHours = Math.ceil(parseDuration('notice', values.notice) / 3600)
    if (noticeHours > 255) throw usageError('--notice is at most 255h.', 'Choose a shorter one.')
    const fromBlock = BigInt(
      parseCount('from-block', values['from-block'], { min: 0, max: Number.MAX_SAFE_INTEGER }),
    )
    const metricsPort =
      values['metrics-port'] === undefined
        ? undefined
        : parseCount('metrics-port', values['metrics-port'], { min: 0, max: 65_535 })
    const egress = parseEgressOffer(values.egress)
    const capacityMiB = parseCapacity(values.capacity)
    const opened = await openMarket(values, context)
    const { market } = opened
    const native = parseNative(values)
    const fault = values.fault === undefined ? undefined : parseFault(values.fault, market.chainId)
    const gateway = await readGatewayInfo(market.gateway, context.signal)
    const reach = parseReach(values, gateway.tunnel)
    const announce = parseAnnounce(values, reach.kind === 'tunnel' ? reach.gatewayUrl : gateway.tunnel)
    const dir = providerDir({ name, dir: values.dir }, context)
    if (await needsNewAccount({ dir, flags: values }, context))
      await assertObtainable({ ...opened, name }, context)
    const saved = await readSettings(dir)
    const priceUsdc = wantedUsdc ?? saved.priceUsdc ?? parseUsdc(priceDefault)
    const endpoint = savedEndpoint(values, reach, saved.endpoint)
    await changeSettings(dir, { priceUsdc, endpoint })
    if (capacityMiB !== undefined) await writePolicy(dir, { ...(await readPolicy(dir)), capacityMiB })
    const account = await openProviderAccount({ dir, flags: values, market }, context)
    await prepareName({ ...opened, name, account, yes: values.yes ?? false }, context)

    await using provider = await createProvider(
      {
        clock: context.clock,
        random: Math.random,
        log: createLog({ level: values.verbose ? 'info' : 'warn' }),
        onProgress: (step) => context.note(`On chain: ${step}`),
      },
      {
        name,
        account,
        rpcUrls: [market.rpc, ...market.moreRpcs],
        contracts: { chainId: market.chainId, ...market.contracts },
        fromBlock,
        dir,
        priceUsdc,
        noticeHours,
        reach,
        ...(endpoint !== undefined && { endpoint }),
        keepers: [new URL(gateway.keeper)],
        peers: gateway.peers,
        version,
        // A chain on this machine may be asked often.
        ...(isDevChain(market) && { mirrorIntervalMs: devMirrorIntervalMs }),
        ...(native && { native }),
        ...(fault && { fault }),
        ...(metricsPort !== undefined && { metricsPort }),
        announce,
        egress,
        egressAllowsPrivate: values['egress-private'] ?? false,
        spending: parseSpending(values),
      },
      context.signal,
    )
    const { href: url } = providerUrl(market.gateway, gateway.domain, name)
    const { tier } = provider.info
    const { nativeEngine } = provider
    context.print(
      [
        `${name} is up.`,
        `  url      ${url}`,
        `  account  ${provider.address}`,
        `  server   ${provider.server}`,
        `  price    ${formatUsdc(priceUsdc)} USDC per call`,
        `  walls    ${tier}`,
        ...(nativeEngine === undefined ? [] : [`  native   ${nativeEngine}`]),
        ...(provider.metricsPort === undefined
          ? []
          : [`  metrics  http://127.0.0.1:${provider.metricsPort}/metrics`]),
        `  egress   ${egress}`,
        ...provider.registered.map((label) => `  on chain ${label}`),
      ].join('\n'),
      {
        name,
        url,
        address: provider.address,
        server: provider.server,
        priceUsdc,
        tier,
        egress,
        ...(nativeEngine !== undefined && { native: nativeEngine }),
        dir,
        registered: provider.registered,
        ...(provider.metricsPort !== undefined && { metricsPort: provider.metricsPort }),
      },
    )
    context.note('Ctrl-C stops: calls in flight end, and what is owed is settled.')
    await untilStopped(context.signal)
  },
})

function parseEgressOffer(text: string): EgressOffer {
  const offer = egressOffers.find((one) => one === text)
  if (offer) return offer
  throw usageError(
    `"${text.slice(0, 40)}" is not a value for --egress.`,
    `Use one of: ${egressOffers.join(', ')}.`,
  )
}

const parseCapacity = (text: string | undefined) =>
  text === undefined ? undefined : parseCount('capacity', text, { min: limits.capacityMiBMin, max: 2 ** 24 })
