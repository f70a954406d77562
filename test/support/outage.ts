import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import type { Address, PublicClient } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { writeMarket } from '../../cli/market/testing-market.ts'
import { createTestUser, type TestUser } from '../../cli/testing.ts'
import { createDevChain } from '../../devnet/chain.ts'
import { type Contracts, createSender, deployContracts, endow, endowNames } from '../../devnet/contracts.ts'
import type { MarketAccount } from '../../devnet/market.ts'
import type { Gateway } from '../../gateway/gateway.ts'
import { startGateway } from '../../gateway/start-gateway.ts'
import { assert } from '../../protocol/base/assert.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { readBalance } from '../../protocol/chain/escrow.ts'
import type { TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { createProvider, type Provider } from '../../provider/provider.ts'
import { startScript, type TestProcess } from './child-process.ts'
import { type CurlAnswer, type CurlRequest, curl } from './curl.ts'
import { freePort } from './free-port.ts'
import { openRpcProxy, type RpcProxy } from './rpc-proxy.ts'

type Party = 'deployer' | 'developer' | 'alice' | 'bob'

/** What every call costs here. */
export const priceUsdc = parseUsdc('0.0005')

/** A market whose parts can be taken away, one at a time; none is there before it is started. */
export interface OutageMarket extends AsyncDisposable {
  /** Talks to the chain itself, which never goes away. */
  readonly client: PublicClient
  readonly contracts: Contracts
  /** The developer has granted alice and bob more than any test spends. */
  readonly accounts: Readonly<Record<Party, MarketAccount>>
  /** The ways to the chain: that of the gateway; that of providers and of the command line. */
  readonly rpc: { readonly gateway: RpcProxy; readonly others: RpcProxy }
  /** The command line of the developer. */
  readonly user: TestUser
  senderOf(account: MarketAccount): TransactionSender
  /** Starts the gateway in this process, at the same port each time. */
  startGateway(): Promise<Gateway>
  /** Lets the command line and its processes find a gateway. */
  announce(gatewayUrl: URL): Promise<void>
  /** Starts alice with an address, bob behind the tunnel of `gateway`, in this process. */
  startProvider(
    name: 'alice' | 'bob',
    gateway: Pick<Gateway, 'port'> & { readonly info: Pick<Gateway['info'], 'tunnel' | 'peers'> },
  ): Promise<Provider>
  /** Starts a command of `khachapuri` that serves, with the key of `party` and a directory under this name. */
  startKhachapuri(argv: readonly string[], party: Party): Promise<TestProcess>
  /** Deploys the echo program. @returns its callable CID */
  deploy(...flags: string[]): Promise<string>
  earnedUsdc(name: 'alice' | 'bob'): Promise<bigint>
}

const signal = new AbortController().signal
export const echoProgram = join(import.meta.dirname, 'programs', 'echo')

export async function openOutageMarket(): Promise<OutageMarket> {
  await using starting = new AsyncDisposableStack()
  const user = starting.use(await createTestUser())
  const chain = starting.use(await createDevChain({ port: 0, secondsBehind: 3_600 }))
  const { chainId } = chain
  const client = createChainClient({ chainId, rpcUrls: [chain.rpcUrl] })
  const rpc = {
    gateway: starting.use(await openRpcProxy(chain.rpcUrl)),
    others: starting.use(await openRpcProxy(chain.rpcUrl)),
  }
  const log = createTestLog()
  const accounts = createAccounts()
  for (const { account } of Object.values(accounts)) await chain.fund(account.address)
  const senderOf = ({ account }: MarketAccount) =>
    createSender({ client, clock: systemClock, log }, account, chainId)
  const contracts = await deployContracts(senderOf(accounts.deployer), chainId, signal)
  for (const role of ['alice', 'bob'] as const) {
    const account = accounts[role].account.address
    await endowNames(senderOf(accounts.deployer), contracts, { account, names: 50 }, signal)
  }
  await endowDeveloper(senderOf(accounts.developer), contracts, accounts)
  const gatewayPort = await freePort()
  const announce = (url: URL) =>
    writeMarket(user.dir, {
      gateway: { url },
      rpcUrl: rpc.others.url,
      contracts,
      keys: { developer: accounts.developer.privateKey },
    })

  const parts = starting.move()
  return {
    client,
    contracts,
    accounts,
    rpc,
    user,
    senderOf,
    async startGateway() {
      const gateway = await startGateway(
        { clock: systemClock, log, client: createChainClient({ chainId, rpcUrls: [rpc.gateway.url] }) },
        {
          host: '127.0.0.1',
          port: gatewayPort,
          allowPrivate: true,
          dir: join(user.dir, '.gateway'),
          contracts,
          version: 'test',
          pollIntervalMs: 20,
          logsCalls: false,
        },
        signal,
      )
      await announce(gateway.url)
      return gateway
    },
    announce,
    startProvider: (name, gateway) =>
      createProvider(
        { clock: systemClock, random: () => 0.5, log },
        {
          name: parseName(name),
          account: accounts[name].account,
          rpcUrls: [rpc.others.url],
          contracts,
          fromBlock: 0n,
          dir: join(user.dir, `.${name}`),
          priceUsdc,
          noticeHours: 48,
          reach:
            name === 'alice'
              ? { kind: 'direct', host: '127.0.0.1', port: 0 }
              : { kind: 'tunnel', gatewayUrl: gateway.info.tunnel },
          keepers: [new URL(`http://127.0.0.1:${gateway.port}`)],
          peers: gateway.info.peers,
          version: 'test',
          mirrorIntervalMs: 20,
          // Tests settle by hand.
          settleIntervalMs: limits.settleIntervalMs,
        },
        signal,
      ),
    startKhachapuri: (argv, party) =>
      startScript(['cli/main.ts', ...argv, '--dir', join(user.dir, `.${argv[0]}-${party}`)], {
        cwd: user.dir,
        env: {
          KHACHAPURI_HOME: join(user.dir, '.home'),
          KHACHAPURI_PRIVATE_KEY: accounts[party].privateKey,
        },
      }),
    async deploy(...flags) {
      const line = ['deploy', echoProgram, ...flags, '--no-env', '--calls-per-minute', 'none', '--json']
      const { exitCode, stdout, stderr } = await user.run(line)
      assert(exitCode === 0, `the deployment succeeds: ${stderr}${stdout}`)
      return JSON.parse(stdout).cid
    },
    earnedUsdc: (name) =>
      readBalance(client, { escrow: contracts.escrow, account: accounts[name].account.address }, signal),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function createAccounts(): Record<Party, MarketAccount> {
  const create = (): MarketAccount => {
    const privateKey = generatePrivateKey()
    return { privateKey, account: privateKeyToAccount(privateKey) }
  }
  return { deployer: create(), developer: create(), alice: create(), bob: create() }
}

function endowDeveloper(
  sender: TransactionSender,
  contracts: Contracts,
  { alice, bob }: Record<Party, MarketAccount>,
): Promise<void> {
  const amount = { mintedUsdc: parseUsdc('100'), depositedUsdc: parseUsdc('100') }
  const grants = [alice, bob].map(({ account }: { account: { address: Address } }) => ({
    provider: account.address,
    priceUsdc,
    budgetUsdc: parseUsdc('10'),
  }))
  return endow(sender, contracts, { ...amount, grants }, { nowMs: systemClock.nowMs(), signal })
}

/** A call through a gateway on this machine, as curl makes it. */
export function callThrough(
  { port, domain }: { readonly port: number; readonly domain: string },
  { provider, ...rest }: { provider: string; path: string } & Partial<CurlRequest>,
): Promise<CurlAnswer> {
  return curl({ port, host: `${provider}.${domain}`, ...rest })
}

/** A call whose two streams the test holds in its hands. */
export function openCall(
  { port, domain }: { readonly port: number; readonly domain: string },
  {
    provider,
    path,
    method = 'GET',
    rawHeaders = [],
  }: { provider: string; path: string; method?: string; rawHeaders?: readonly string[] },
): { readonly outgoing: ClientRequest; readonly answered: Promise<IncomingMessage> } {
  const headers = ['host', `${provider}.${domain}`, ...rawHeaders]
  const outgoing = request({ host: '127.0.0.1', port, path, method, headers, agent: false })
  outgoing.flushHeaders()
  const answered = once(outgoing, 'response').then(([response]) => response as IncomingMessage)
  return { outgoing, answered }
}

/** Asks until the answer is one that is waited for; how long that may take is the test's time limit. */
export async function askUntil<T>(ask: () => Promise<T>, isIt: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask()
    if (isIt(answer)) return answer
  }
}
