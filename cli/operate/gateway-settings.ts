import { join } from 'node:path'
import { readSettings } from '../../gateway/config/read-settings.ts'
import type { GatewaySettings } from '../../gateway/config/settings.ts'
import { type SettingsLayer, setAt } from '../../gateway/config/settings-layer.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { CommandContext, Options } from '../command.ts'
import { homeOf, readFileBounded } from '../files.ts'
import { findMarketFile } from '../market/market-file.ts'
import { resolvePath } from '../project/packed-program.ts'

/** Flags of the commands that read a gateway's settings. Each stands for one setting, but `--config` and `--verbose`. */
export const gatewayOptions = {
  config: { type: 'string', value: '<file>', help: 'JSON with settings (default: none)' },
  port: { type: 'string', value: '<port>', help: 'Where it listens; 0 takes a free one (default 8080)' },
  host: { type: 'string', value: '<address>', help: 'Address to listen on (default 127.0.0.1)' },
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
  'tls-cert': {
    type: 'string',
    value: '<file>',
    help: 'Certificate and chain in PEM: the gateway ends TLS itself',
  },
  'tls-key': { type: 'string', value: '<file>', help: 'Its key in PEM, which only its owner may read' },
  acme: { type: 'boolean', help: 'Get certificates from an ACME authority, and agree to its terms' },
  'acme-directory': { type: 'string', value: '<url>', help: "The authority (default Let's Encrypt)" },
  'acme-email': { type: 'string', value: '<address>', help: 'Where the authority writes to' },
  'acme-hook': {
    type: 'string',
    multiple: true,
    value: '<word>',
    help: 'A command that puts DNS records, then its arguments, each with this flag',
  },
  'http-port': {
    type: 'string',
    value: '<port>',
    help: 'With TLS: where plain HTTP is led to https (default: nowhere)',
  },
  balancer: {
    type: 'string',
    multiple: true,
    value: '<network>',
    help: 'Load balancer that speaks the PROXY protocol, such as 10.0.0.0/24',
  },
  cluster: {
    type: 'string',
    multiple: true,
    value: '<url>',
    help: 'NATS server by which many gateways know of each other',
  },
  'allow-private': { type: 'boolean', help: 'Let providers be on this machine or in its network' },
  dir: { type: 'string', value: '<dir>', help: 'Blocks and keys (default ~/.khachapuri/gateway)' },
  workers: {
    type: 'string',
    value: '<n>',
    help: 'Processes on the port, one for each core that it is to use (default 1)',
  },
  'metrics-port': {
    type: 'string',
    value: '<n>',
    help: 'Show metrics for Prometheus at http://127.0.0.1:<n>/metrics; 0 takes a free port',
  },
  verbose: { type: 'boolean', help: 'Log every call, as JSON on standard error' },
  rpc: {
    type: 'string',
    value: '<url>[,…]',
    help: "The chain's JSON-RPC; of several what decides about names is compared",
  },
  'chain-id': { type: 'string', value: '<n>', help: "The chain's id" },
  escrow: {
    type: 'string',
    value: '<address>',
    help: 'The contracts; in the directory of a running market none of',
  },
  registry: { type: 'string', value: '<address>', help: 'these five is needed' },
  usdc: { type: 'string', value: '<address>', help: 'The token' },
} as const satisfies Options

type GatewayFlags = {
  readonly [name in keyof typeof gatewayOptions]?:
    | ((typeof gatewayOptions)[name] extends { multiple: true }
        ? string[]
        : (typeof gatewayOptions)[name]['type'] extends 'boolean'
          ? boolean
          : string)
    | undefined
}

/** Which setting a flag stands for. */
const settingOfFlag = {
  port: ['port'],
  host: ['host'],
  domain: ['domain'],
  'public-url': ['publicUrl'],
  'tls-cert': ['tls', 'cert'],
  'tls-key': ['tls', 'key'],
  acme: ['tls', 'acme', 'enabled'],
  'acme-directory': ['tls', 'acme', 'directory'],
  'acme-email': ['tls', 'acme', 'email'],
  'acme-hook': ['tls', 'acme', 'hook'],
  'http-port': ['tls', 'httpPort'],
  balancer: ['balancers'],
  cluster: ['fleet', 'cluster'],
  'allow-private': ['allowPrivate'],
  dir: ['dir'],
  workers: ['workers'],
  'metrics-port': ['metrics', 'port'],
  rpc: ['chain', 'rpc'],
  'chain-id': ['chain', 'chainId'],
  escrow: ['chain', 'escrow'],
  registry: ['chain', 'registry'],
  usdc: ['chain', 'usdc'],
} as const satisfies Partial<Record<keyof GatewayFlags, readonly string[]>>

const numberFlags: ReadonlySet<string> = new Set(['port', 'http-port', 'chain-id', 'metrics-port', 'workers'])

export interface ReadGatewaySettings {
  readonly settings: GatewaySettings
  /** Absolute. */
  readonly dir: string
  /** Absolute; undefined where all settings came from elsewhere. */
  readonly configPath: string | undefined
}

/**
 * Reads the settings of a gateway from everywhere that they may be.
 *
 * @throws ProtocolError `usage_invalid`, `config_invalid` with all that is wrong
 */
export async function readGatewaySettings(
  values: GatewayFlags,
  { cwd, env }: Pick<CommandContext, 'cwd' | 'env'>,
): Promise<ReadGatewaySettings> {
  const configPath = values.config === undefined ? undefined : resolvePath(cwd, values.config)
  const file = configPath === undefined ? undefined : await readConfigFile(configPath)
  const market = await findMarketFile(cwd)
  const settings = readSettings({
    flags: flagsLayer(values),
    env,
    file,
    market: market && {
      values: { chain: { rpc: market.rpc, chainId: market.chainId, ...market.contracts } },
      nameOf: (path) => `${join(market.folder, 'market.json')}, ${path.join('.')}`,
    },
  })
  const dir = settings.dir === undefined ? join(homeOf(env), 'gateway') : resolvePath(cwd, settings.dir)
  return { settings, dir, configPath }
}

async function readConfigFile(path: string) {
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  if (bytes) return { path, bytes }
  throw new ProtocolError('config_invalid', `There is no file ${path}.`, {
    hint: 'Check --config, or leave it out.',
  })
}

function flagsLayer(values: GatewayFlags): SettingsLayer {
  const tree = {}
  if (values.verbose) setAt(tree, ['log', 'level'], 'info')
  for (const [flag, path] of Object.entries(settingOfFlag)) {
    const value = values[flag as keyof typeof settingOfFlag]
    if (value !== undefined) setAt(tree, path, numberFlags.has(flag) ? toNumber(value) : value)
  }
  const flagOf = new Map(Object.entries(settingOfFlag).map(([flag, path]) => [path.join('.'), flag]))
  return {
    values: tree,
    nameOf: (path) => {
      // A word of a list is a place below its setting.
      const flag = flagOf.get(path.filter((part) => typeof part === 'string').join('.'))
      return flag === undefined ? '' : `--${flag}`
    },
  }
}

/** What is no number stays text, so that the schema says what it expected. */
const toNumber = (value: string | boolean | string[]) =>
  typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? Number(value) : value
