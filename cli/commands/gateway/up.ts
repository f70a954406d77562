import { join } from 'node:path'
import type { Address } from 'viem'
import { startGateway } from '../../../gateway/start-gateway.ts'
import { createLog } from '../../../protocol/base/log.ts'
import { assertChain, createChainClient } from '../../../protocol/chain/client.ts'
import { addressSchema } from '../../../protocol/schema.ts'
import { type CommandContext, defineCommand, type Options, usageError } from '../../command.ts'
import { parseCount } from '../../duration.ts'
import { homeOf } from '../../files.ts'
import { parseHttpUrl } from '../../market/market.ts'
import { findMarketFile } from '../../market/market-file.ts'
import { untilStopped } from '../../operate/until-stopped.ts'
import { resolvePath } from '../../project/packed-program.ts'
import { version } from '../../version.ts'

const contractOptions = {
  rpc: { type: 'string', value: '<url>', help: "The chain's JSON-RPC" },
  'chain-id': { type: 'string', value: '<n>', help: "The chain's id" },
  escrow: {
    type: 'string',
    value: '<address>',
    help: 'The contracts; in the directory of a running market none of',
  },
  registry: { type: 'string', value: '<address>', help: 'these five is needed' },
  usdc: { type: 'string', value: '<address>', help: 'The token' },
} as const satisfies Options

export const gatewayUp = defineCommand({
  usage: 'gateway up',
  details:
    'The wildcard-subdomain front door, with a keeper, an IPFS node and tunnels, until Ctrl-C. Put something that ends\n' +
    'TLS before it, and point the domain and *.domain to it.',
  options: {
    port: { type: 'string', value: '<port>', default: '8080', help: 'Where it listens; 0 takes a free one' },
    host: { type: 'string', value: '<address>', default: '127.0.0.1', help: 'Address to listen on' },
    domain: {
      type: 'string',
      value: '<host>',
      help: 'Providers are its subdomains (default localhost:<port>)',
    },
    'public-url': {
      type: 'string',
      value: '<url>',
      help: 'How the world reaches it (default http://<domain>)',
    },
    'allow-private': { type: 'boolean', help: 'Let providers be on this machine or in its network' },
    dir: { type: 'string', value: '<dir>', help: 'Blocks and keys (default ~/.khachapuri/gateway)' },
    verbose: { type: 'boolean', help: 'Log every call, as JSON on standard error' },
    ...contractOptions,
  },
  examples: [
    'gateway up --port 8081 --allow-private',
    'gateway up --domain market.example --public-url https://market.example --rpc https://rpc.example --chain-id 8453 --escrow 0x… --registry 0x… --usdc 0x…',
  ],
  async run({ values }, context) {
    const { clock, cwd, env, print, note, signal } = context
    const port = parseCount('port', values.port, { min: 0, max: 65_535 })
    const { rpc, contracts } = await findContracts(values, context)
    const log = createLog({ level: values.verbose ? 'info' : 'warn' })
    const client = createChainClient({ chainId: contracts.chainId, rpcUrls: [rpc] })
    await assertChain(client, contracts.chainId, signal)
    const publicUrl = values['public-url']
    await using gateway = await startGateway(
      { clock, log, client },
      {
        host: values.host,
        port,
        allowPrivate: values['allow-private'] ?? false,
        dir: values.dir === undefined ? join(homeOf(env), 'gateway') : resolvePath(cwd, values.dir),
        contracts,
        version,
        ...(values.domain !== undefined && { domain: values.domain }),
        ...(publicUrl !== undefined && { publicUrl: parseHttpUrl('public-url', publicUrl).origin }),
      },
      signal,
    )
    const { info } = gateway
    print(
      [
        'The gateway is up.',
        `  url        ${gateway.url.href}`,
        `  providers  ${gateway.url.protocol}//<provider>.${gateway.domain}/`,
        `  tunnels    ${info.tunnel}`,
        `  chain      ${contracts.chainId} at ${rpc.origin}`,
      ].join('\n'),
      { url: gateway.url.href, host: gateway.host, port: gateway.port, ...info },
    )
    note('Ctrl-C stops: requests in flight end first.')
    await untilStopped(signal)
  },
})

type ContractFlags = { readonly [name in keyof typeof contractOptions]?: string | undefined }

/** A gateway is what others find the contracts by, so it must be told; or it joins the market of its directory. */
async function findContracts(flags: ContractFlags, { cwd }: CommandContext) {
  const running = await findMarketFile(cwd)
  const named = flags.escrow ?? flags.registry ?? flags.usdc ?? flags['chain-id']
  if (running && named === undefined) {
    const { chainId, contracts } = running
    return { rpc: parseHttpUrl('rpc', flags.rpc ?? running.rpc), contracts: { chainId, ...contracts } }
  }
  return {
    rpc: parseHttpUrl('rpc', required('rpc', flags)),
    contracts: {
      chainId: parseCount('chain-id', required('chain-id', flags), { min: 1, max: Number.MAX_SAFE_INTEGER }),
      escrow: parseAddress('escrow', flags),
      registry: parseAddress('registry', flags),
      usdc: parseAddress('usdc', flags),
    },
  }
}

function required(flag: keyof ContractFlags, flags: ContractFlags): string {
  const value = flags[flag]
  if (value !== undefined) return value
  throw usageError(
    `--${flag} ${contractOptions[flag].value} is missing.`,
    'See "khachapuri gateway up --help".',
  )
}

function parseAddress(flag: keyof ContractFlags, flags: ContractFlags): Address {
  const parsed = addressSchema.safeParse(required(flag, flags))
  if (parsed.success) return parsed.data
  throw usageError(`The value of --${flag} is not an address.`, 'Copy it again; its capitals are a checksum.')
}
