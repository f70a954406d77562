import { execFile } from 'node:child_process'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Address, Hex, LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createDevChain } from '../devnet/chain.ts'
import { createSender, deployContracts, endow } from '../devnet/contracts.ts'
import { systemClock } from '../protocol/base/clock.ts'
import { createLog } from '../protocol/base/log.ts'
import { createChainClient } from '../protocol/chain/client.ts'
import type { PayerChoice } from '../protocol/owner.ts'
import type { Market } from '../protocol/typed-data.ts'
import { parseUsdc } from '../protocol/usdc.ts'
import { type StartedProcess, startProcess } from './processes.ts'

/** alice has an address, bob a tunnel, carol is for cold starts, dave keeps everything in memory, and erin makes them five. */
export type ProviderName = 'alice' | 'bob' | 'carol' | 'dave' | 'erin'

/** A market whose parts are processes of their own, started from the command line as anybody starts them. */
export interface BenchMarket extends AsyncDisposable {
  readonly market: Market
  /** Has a grant for metered use and one for its own vouchers at every provider, and owns what is deployed. */
  readonly payer: LocalAccount
  readonly gateway: RunningGateway
  /** Started at the first use, and running until the market ends. */
  provider(name: ProviderName): Promise<RunningProvider>
  /**
   * @param options.dir - Where it keeps its things; a directory of the bench by default.
   * @param options.nodeArgs - For the Node that runs it.
   */
  startProvider(
    name: ProviderName,
    options?: { readonly dir: string; readonly nodeArgs?: readonly string[] },
  ): Promise<RunningProvider>
  addressOf(name: ProviderName): Address
  /** Deploys a directory, without a daily limit for its owner, who pays by default. @returns the callable CID */
  deploy(
    options: {
      readonly programDir: string
      readonly providers: readonly ProviderName[]
      readonly payer?: PayerChoice
      /** Whether the spec is left unsealed, so that a server without the keys of a provider can run it. */
      readonly isPublic?: boolean
    },
    signal: AbortSignal,
  ): Promise<string>
}

export interface RunningGateway {
  readonly pid: number
  readonly port: number
  readonly url: string
  /** Providers are its subdomains. */
  readonly domain: string
}

export interface RunningProvider extends StartedProcess {
  /** What its Resolver says; for alice and carol, where they listen. */
  readonly server: string
}

export interface BenchMarketOptions {
  readonly dir: string
  /** Where the gateway and the providers leave CPU profiles when they end. */
  readonly profileDir: string | undefined
}

const cli = join(import.meta.dirname, '..', 'cli', 'main.ts')
/** Nobody's calls must stop for money: a bench pays for millions of them. */
const priceUsdc = '0.0005'
const budgetUsdc = parseUsdc('1000000')
const endowment = { mintedUsdc: parseUsdc('10000000'), depositedUsdc: parseUsdc('10000000') }

/** Starts chain and gateway, and reserves money for each provider. The chain is in this process, which else waits. */
export async function startBenchMarket(
  { dir, profileDir }: BenchMarketOptions,
  signal: AbortSignal,
): Promise<BenchMarket> {
  await using starting = new AsyncDisposableStack()
  const chain = starting.use(await createDevChain({ port: 0 }))
  const { chainId } = chain
  const rpc = chain.rpcUrl.origin
  const deps = {
    client: createChainClient({ chainId, rpcUrls: [chain.rpcUrl] }),
    clock: systemClock,
    log: createLog({ level: 'warn' }),
  }
  const keys: Readonly<Record<ProviderName, Hex>> = {
    alice: generatePrivateKey(),
    bob: generatePrivateKey(),
    carol: generatePrivateKey(),
    dave: generatePrivateKey(),
    erin: generatePrivateKey(),
  }
  const developerKey = generatePrivateKey()
  const developer = privateKeyToAccount(developerKey)
  await chain.fund(developer.address)
  const sender = createSender(deps, developer, chainId)
  const contracts = await deployContracts(sender, chainId, signal)
  const grants = Object.values(keys).flatMap((key) => {
    const metered = {
      provider: privateKeyToAccount(key).address,
      priceUsdc: parseUsdc(priceUsdc),
      budgetUsdc,
    }
    return [metered, { ...metered, signer: developer.address }]
  })
  await endow(sender, contracts, { ...endowment, grants }, { nowMs: systemClock.nowMs(), signal })

  await mkdir(dir, { recursive: true })
  const profiling = profileDir === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', profileDir]
  const env = { PATH: process.env['PATH'], KHACHAPURI_HOME: join(dir, 'home') }
  const start = (
    args: readonly string[],
    variables: Readonly<Record<string, string>>,
    nodeArgs: readonly string[] = [],
  ) => {
    const command = {
      command: process.execPath,
      args: [...profiling, ...nodeArgs, cli, ...args, '--json'],
    }
    return startProcess({ ...command, cwd: dir, env: { ...env, ...variables } }, signal)
  }

  const { usdc, escrow, registry } = contracts
  const gatewayProcess = starting.use(
    await start(
      [
        ...['gateway', 'up', '--port', '0', '--allow-private', '--dir', join(dir, 'gateway')],
        ...['--rpc', rpc, '--chain-id', `${chainId}`],
        ...['--usdc', usdc, '--escrow', escrow, '--registry', registry],
      ],
      {},
    ),
  )
  const { port, domain, url } = gatewayProcess.facts as { port: number; domain: string; url: string }
  const gatewayUrl = new URL(url).origin
  const place = { KHACHAPURI_GATEWAY: gatewayUrl, KHACHAPURI_RPC: rpc }

  const startProvider: BenchMarket['startProvider'] = async (
    name,
    { dir: providerDir, nodeArgs } = { dir: join(dir, name) },
  ) => {
    const started = await start(
      [
        ...['provider', 'up', '--domain', name, '--price', priceUsdc, '--dir', providerDir, '--yes'],
        ...(name === 'bob' ? [] : ['--port', '0']),
      ],
      { ...place, KHACHAPURI_PRIVATE_KEY: keys[name] },
      nodeArgs,
    )
    return { ...started, server: started.facts['server'] as string }
  }

  const running = new Map<ProviderName, RunningProvider>()
  const parts = starting.move()
  return {
    market: { chainId, escrow },
    payer: developer,
    addressOf: (name) => privateKeyToAccount(keys[name]).address,
    gateway: { pid: gatewayProcess.pid, port, url: gatewayUrl, domain },
    startProvider,
    async provider(name) {
      const known = running.get(name)
      if (known) return known
      const started = parts.use(await startProvider(name))
      running.set(name, started)
      return started
    },
    async deploy({ programDir, providers, payer = 'owner', isPublic = false }, deploySignal) {
      const args = [
        ...[cli, 'deploy', programDir, ...providers.flatMap((name) => ['--provider', name])],
        ...['--owner-per-day', 'none', '--calls-per-minute', 'none', '--payer', payer, '--json'],
        ...(isPublic ? ['--public'] : []),
        // A provider that keeps its things in another directory than before has other keys.
        '--accept-identity',
      ]
      const { stdout } = await promisify(execFile)(process.execPath, args, {
        cwd: dir,
        env: { ...env, ...place, KHACHAPURI_PRIVATE_KEY: developerKey },
        signal: deploySignal,
      })
      return (JSON.parse(stdout) as { cid: string }).cid
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
