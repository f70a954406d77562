import { join } from 'node:path'
import type { Address } from 'viem'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type GatewayInfo, gatewayInfoSchema } from '../../protocol/gateway.ts'
import { limits } from '../../protocol/limits.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { type CommandContext, usageError } from '../command.ts'
import { requestHttp, type Silence } from '../http.ts'
import type { KeyDirectory } from '../keys/key-directory.ts'
import { findMarketFile } from './market-file.ts'
import type { MarketFlags } from './options.ts'
import { readEnvSettings, readSettingsFile } from './settings.ts'

/** Where a command works: a chain with the contracts, and a gateway to it. */
export interface MarketPlace {
  readonly gateway: URL
  readonly rpc: URL
  /** More servers of the same chain: they step in, and what decides about money is compared. */
  readonly moreRpcs: readonly URL[]
  readonly chainId: number
  readonly contracts: { readonly usdc: Address; readonly escrow: Address; readonly registry: Address }
  /** Of a local development market only. */
  readonly keys: KeyDirectory | undefined
  /** Of a local development market only: the file of its domains. */
  readonly zone: string | undefined
}

/** A market of which the way to its chain may not be known. */
export interface GatewayPlace extends Omit<MarketPlace, 'rpc'> {
  readonly rpc: URL | undefined
}

/**
 * Finds the market: by the flags, by the environment, by the market that runs in this directory or above it, or by the
 * user's settings, in this order.
 *
 * @throws ProtocolError `market_not_running` with what to do
 */
export async function findMarket(flags: MarketFlags, context: CommandContext): Promise<MarketPlace> {
  const place = await findGateway(flags, context)
  if (place.rpc) return { ...place, rpc: place.rpc }
  throw usageError(
    `The chain of ${place.gateway.host} is not known.`,
    'Add --rpc <url>, or set KHACHAPURI_RPC.',
  )
}

/** The same for what can be done without the chain. @throws ProtocolError `market_not_running` */
export async function findGateway(
  flags: MarketFlags,
  { cwd, env, signal }: CommandContext,
): Promise<GatewayPlace> {
  const inEnv = readEnvSettings(env)
  const named = { gateway: flags.gateway ?? inEnv.gateway, rpc: flags.rpc ?? inEnv.rpc }
  const running = named.gateway === undefined ? await findMarketFile(cwd) : undefined
  if (running) {
    return {
      gateway: new URL(running.gateway),
      ...parseRpcs(named.rpc ?? running.rpc),
      chainId: running.chainId,
      contracts: running.contracts,
      keys: { path: join(running.folder, 'keystore') },
      zone: running.zone,
    }
  }
  const settings = await readSettingsFile(env)
  const gatewayText = named.gateway ?? settings.gateway
  if (gatewayText === undefined) throw noMarket()
  const gateway = parseHttpUrl('--gateway', gatewayText)
  const rpcText = named.rpc ?? settings.rpc
  const rpcs = rpcText === undefined ? { rpc: undefined, moreRpcs: [] } : parseRpcs(rpcText)
  const { chainId, escrow, registry, usdc } = await readGatewayInfo(gateway, signal)
  return {
    gateway,
    ...rpcs,
    chainId,
    contracts: { escrow, registry, usdc },
    keys: undefined,
    zone: undefined,
  }
}

/** Where the accounts of a local market are, for what needs an account and no market. */
export async function findKeysPlace({ cwd, env }: CommandContext): Promise<Pick<MarketPlace, 'keys'>> {
  const running = readEnvSettings(env).gateway === undefined ? await findMarketFile(cwd) : undefined
  return { keys: running && { path: join(running.folder, 'keystore') } }
}

/**
 * Asks a gateway who it is.
 *
 * @throws ProtocolError `market_not_running` where nobody answers; `config_invalid` for another kind of server
 */
export async function readGatewayInfo(gateway: URL, signal: AbortSignal): Promise<GatewayInfo> {
  const url = new URL('/_/info', gateway)
  const silence = gatewaySilence(gateway)
  const { status, body } = await requestHttp({ url, bytesMax: limits.problemBytesMax * 4, silence }, signal)
  const parsed = gatewayInfoSchema.safeParse(parseJson(body))
  const fault = status === 200 ? findInfoFault(parsed) : `it answers ${status}`
  if (parsed.success && fault === undefined) return parsed.data
  throw new ProtocolError('config_invalid', `${url.href} is not that of a gateway: ${fault}`, {
    hint: 'Name the gateway by its own address, such as http://localhost:8080.',
  })
}

/** What is said of a gateway that does not answer. */
export const gatewaySilence = ({ origin }: URL): Silence => ({
  code: 'market_not_running',
  message: `The gateway ${origin} does not answer.`,
  hint: 'Start the local market with "npm start", or check --gateway.',
})

/** The URL of a provider at a gateway: its name as a subdomain. */
export function providerUrl(gateway: URL, domain: string, name: string): URL {
  return new URL(`${gateway.protocol}//${name}.${domain}/`)
}

/** Reads one URL, or several with commas between. @throws ProtocolError `usage_invalid` */
function parseRpcs(text: string): Pick<MarketPlace, 'rpc' | 'moreRpcs'> {
  const [rpc = parseHttpUrl('--rpc', text), ...moreRpcs] = text
    .split(',')
    .map((part) => parseHttpUrl('--rpc', part.trim()))
  return { rpc, moreRpcs }
}

/** @param place - Where it was written, as in `--gateway`. @throws ProtocolError `usage_invalid` */
export function parseHttpUrl(place: string, text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url && (url.protocol === 'http:' || url.protocol === 'https:')) return url
  throw usageError(
    `"${text.slice(0, 80)}" is not a URL for ${place}.`,
    'Write it as in http://localhost:8080.',
  )
}

function findInfoFault(parsed: ReturnType<typeof gatewayInfoSchema.safeParse>): string | undefined {
  if (!parsed.success) return describeIssues(parsed.error)
  const { domain } = parsed.data
  return isHost(domain) && isHost(`x.${domain}`) ? undefined : 'its domain is no host'
}

/** Whether a text is a host, with a port or without, and nothing that would lead a URL elsewhere. */
function isHost(text: string): boolean {
  return URL.canParse(`http://${text}/`) && new URL(`http://${text}/`).host === text
}

function noMarket(): ProtocolError {
  return new ProtocolError('market_not_running', 'No market is running here, and none is named.', {
    hint: 'Start a local one with "npm start" and work in its directory, or add --gateway <url> --rpc <url>.',
  })
}
