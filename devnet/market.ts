import { join } from 'node:path'
import type { Address, Hex, LocalAccount, PublicClient } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Gateway } from '../gateway/gateway.ts'
import { startGateway } from '../gateway/start-gateway.ts'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { createChainClient } from '../protocol/chain/client.ts'
import { parseName } from '../protocol/name.ts'
import { parseUsdc, type Usdc } from '../protocol/usdc.ts'
import type { Fault } from '../provider/faults.ts'
import { createProvider, type Provider, type Reach } from '../provider/provider.ts'
import type { NativeOptions } from '../provider/runtime/native/native-runtime.ts'
import { createDevChain, type DevChain } from './chain.ts'
import { type Contracts, createSender, deployContracts, endow, endowNames } from './contracts.ts'
import { createZoneLookup } from './zone.ts'

/** Everybody in the market who has a key. */
export const roles = ['deployer', 'developer', 'payer', 'alice', 'bob'] as const
export type Role = (typeof roles)[number]

export interface MarketAccount {
  readonly account: LocalAccount
  readonly privateKey: Hex
}

/** The whole market in one process: chain, contracts, gateway with keeper, a direct provider and one behind a tunnel. */
export interface DevMarket extends AsyncDisposable {
  readonly chain: DevChain
  readonly client: PublicClient
  readonly contracts: Contracts
  readonly accounts: Readonly<Record<Role, MarketAccount>>
  readonly gateway: Gateway
  readonly providers: Readonly<Record<'alice' | 'bob', Provider>>
  /** The file of its custom domains. */
  readonly zone: string
}

export interface MarketDeps {
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  /** Hears what is being done, for people who wait. */
  readonly onProgress: (step: string) => void
}

export interface MarketOptions {
  /** Where gateway and providers keep their things; the chain keeps nothing, so the directory must be empty. */
  readonly dir: string
  /** 0 takes a free one. */
  readonly gatewayPort: number
  readonly priceUsdc: Usdc
  readonly settleIntervalMs: number
  readonly fault?: Fault
  /** Whether the providers run native programs, too. */
  readonly native?: NativeOptions
  readonly version: string
}

/** Everybody's price cap: above what alice and bob ask, so that a price may rise a little. */
const capUsdc = parseUsdc('0.001')
const endowment = { mintedUsdc: parseUsdc('1000'), depositedUsdc: parseUsdc('100') }
const budgetUsdc = parseUsdc('10')
/** A chain on this machine may be asked often. */
const pollIntervalMs = 200

/** Starts a market. If a part fails to start, those before it are closed. @throws ProtocolError `port_taken`, … */
export async function createMarket(
  { clock, random, log, onProgress }: MarketDeps,
  options: MarketOptions,
  signal: AbortSignal,
): Promise<DevMarket> {
  await using starting = new AsyncDisposableStack()
  const { dir, priceUsdc, settleIntervalMs, version } = options

  onProgress('chain')
  const chain = starting.use(await createDevChain({ port: 0 }))
  const { chainId } = chain
  const client = createChainClient({ chainId, rpcUrls: [chain.rpcUrl] })
  const accounts = createAccounts()
  await Promise.all(roles.map((role) => chain.fund(accounts[role].account.address)))
  const senderOf = (role: Role) => createSender({ client, clock, log }, accounts[role].account, chainId)

  onProgress('contracts')
  const contracts = await deployContracts(senderOf('deployer'), chainId, signal)

  for (const role of ['alice', 'bob'] as const) {
    const account = accounts[role].account.address
    await endowNames(senderOf('deployer'), contracts, { account }, signal)
  }

  onProgress('gateway')
  const zone = join(dir, 'zone.json')
  const gateway = starting.use(
    await startGateway(
      { clock, log, client, lookupTxt: createZoneLookup(zone) },
      {
        host: '127.0.0.1',
        port: options.gatewayPort,
        allowPrivate: true,
        dir: join(dir, 'gateway'),
        contracts,
        version,
        pollIntervalMs,
        logsCalls: false,
      },
      signal,
    ),
  )

  onProgress('providers')
  const startProvider = (name: 'alice' | 'bob', reach: Reach): Promise<Provider> =>
    createProvider(
      { clock, random, log },
      {
        name: parseName(name),
        account: accounts[name].account,
        rpcUrls: [chain.rpcUrl],
        contracts,
        fromBlock: 0n,
        dir: join(dir, name),
        priceUsdc,
        noticeHours: 48,
        reach,
        keepers: [new URL(`http://127.0.0.1:${gateway.port}`)],
        peers: gateway.info.peers,
        version,
        mirrorIntervalMs: pollIntervalMs,
        settleIntervalMs,
        announce: { gateways: [gateway.url], region: 'local' },
        ...(options.fault && { fault: options.fault }),
        ...(options.native && { native: options.native }),
      },
      signal,
    )
  const alice = starting.use(await startProvider('alice', { kind: 'direct', host: '127.0.0.1', port: 0 }))
  const bob = starting.use(await startProvider('bob', { kind: 'tunnel', gatewayUrl: gateway.info.tunnel }))

  onProgress('money')
  const grants = [alice, bob].map(({ address }: { address: Address }) => ({
    provider: address,
    priceUsdc: capUsdc,
    budgetUsdc,
  }))
  for (const role of ['developer', 'payer'] as const) {
    await endow(senderOf(role), contracts, { ...endowment, grants }, { nowMs: clock.nowMs(), signal })
  }
  const parts = starting.move()
  return {
    chain,
    client,
    contracts,
    accounts,
    gateway,
    providers: { alice, bob },
    zone,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function createAccounts(): Record<Role, MarketAccount> {
  const create = (): MarketAccount => {
    const privateKey = generatePrivateKey()
    return { privateKey, account: privateKeyToAccount(privateKey) }
  }
  return { deployer: create(), developer: create(), payer: create(), alice: create(), bob: create() }
}
