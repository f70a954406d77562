import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Address, Hex, LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createTestUser, type TestUser } from '../../cli/testing.ts'
import { createSender, endow, endowNames } from '../../devnet/contracts.ts'
import { createMarket, type DevMarket, type MarketAccount } from '../../devnet/market.ts'
import { writeMarketFile } from '../../devnet/market-file.ts'
import { assert } from '../../protocol/base/assert.ts'
import { toHex } from '../../protocol/base/bytes.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog, type Log } from '../../protocol/base/log.ts'
import { readBalance, readGrant } from '../../protocol/chain/escrow.ts'
import { meteredSigner } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import { anyDeployment, type Pass, signPass } from '../../protocol/pass.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { parseUsdc, type Usdc } from '../../protocol/usdc.ts'
import type { Fault } from '../../provider/faults.ts'
import {
  createProvider,
  type Provider,
  type ProviderDeps,
  type ProviderOptions,
} from '../../provider/provider.ts'
import type { NativeOptions } from '../../provider/runtime/native/native-runtime.ts'
import { type CurlAnswer, type CurlRequest, curl } from './curl.ts'

/** What `deploy --json` says. */
export interface Deployed {
  readonly cid: string
  readonly program: string
  readonly programDigest: Hex
  readonly programId: Hex
  readonly sealed: boolean
  readonly urls: Readonly<Record<string, string>>
}

/** A call as a stranger makes it, through the gateway. */
export interface MarketCall extends Partial<Omit<CurlRequest, 'port' | 'host'>> {
  /** `alice` by default, who has an address; `bob` is behind a tunnel. */
  readonly provider?: string
  /** The callable CID, or nothing for the provider's own pages. */
  readonly cid?: string
  /** A pass to pay with. */
  readonly pass?: string
}

/** Base units of USDC by name; whose balance did not change is not there. */
export interface Costs {
  readonly paid: Readonly<Record<string, bigint>>
  readonly earned: Readonly<Record<string, bigint>>
}

export const nothing: Costs = { paid: {}, earned: {} }

export interface PayerOptions {
  /** The name under which its costs are told. */
  readonly name: string
  readonly depositedUsdc?: Usdc
  readonly grants?: readonly {
    readonly provider: Address
    readonly priceUsdc: Usdc
    readonly budgetUsdc: Usdc
    /** Who signs vouchers for it, the payer itself perhaps; left out for metered use. */
    readonly signer?: Address | 'payer'
  }[]
}

/**
 * The whole market in this process, with a developer at its command line: everything between is real, the chain, the
 * contracts, the gateway, alice with an address and bob behind a tunnel, stores, sandboxes, settlement.
 */
export interface TestMarket extends AsyncDisposable {
  readonly dev: DevMarket
  /** What signatures are for. */
  readonly market: Market
  /** Has an empty directory in which the command line finds the market, as `developer` unless told otherwise. */
  readonly user: TestUser
  /** Where gateway and providers keep their things, by name. */
  readonly dir: string
  /** Runs `khachapuri deploy <program> … --json`; to alice, unless the flags say who. */
  deploy(program: string, ...flags: string[]): Promise<Deployed>
  call(call: MarketCall): Promise<CurlAnswer>
  /** A pass of the market's payer for both providers, with these fields changed before it is signed. */
  pass(changes?: Partial<Pass>, signer?: LocalAccount): Promise<string>
  createPayer(options: PayerOptions): Promise<MarketAccount>
  /** Waits until the providers know what the chain says now. */
  syncGrants(): Promise<void>
  /** Has everything settled that was charged. */
  settle(): Promise<void>
  /** What an act changed in everybody's balances on chain, once all of it is settled. */
  costsOf(act: () => Promise<unknown>): Promise<Costs>
  /** Counts what one more account earns: a provider in a process of its own, which whoever starts it has settle. */
  watchEarner(name: string, address: Address): void
  /** One more provider, with an address and an account of its own; it ends with the market. */
  startProvider(
    name: string,
    changes?: Partial<ProviderOptions>,
    deps?: Partial<ProviderDeps>,
  ): Promise<Provider>
}

export interface TestMarketOptions {
  readonly priceUsdc?: Usdc
  readonly fault?: Fault
  /** Whether alice and bob run native programs. */
  readonly native?: NativeOptions
  /** Hears what all parts of the market have to say. */
  readonly log?: Log
}

export const echoProgram = join(import.meta.dirname, 'programs', 'echo')

const signal = new AbortController().signal

export async function openMarket({
  log = createTestLog(),
  ...options
}: TestMarketOptions = {}): Promise<TestMarket> {
  await using starting = new AsyncDisposableStack()
  const user = starting.use(await createTestUser())
  const dir = join(user.dir, '.market')
  const dev = starting.use(
    await createMarket(
      { clock: systemClock, random: () => 0.5, log, onProgress: () => undefined },
      {
        dir,
        gatewayPort: 0,
        priceUsdc: parseUsdc('0.0005'),
        // Tests settle by hand, so that they know what was settled when.
        settleIntervalMs: limits.settleIntervalMs,
        version: 'test',
        ...options,
      },
      signal,
    ),
  )
  starting.use(await writeMarketFile(join(user.dir, '.khachapuri'), dev, []))
  const guests = starting.use(new AsyncDisposableStack())
  const { contracts, client, accounts, gateway } = dev
  const providers = new Map<string, Provider>(Object.entries(dev.providers))
  const earners = new Map([...providers].map(([name, { address }]) => [name, address]))
  const payers = new Map<string, Address>([
    ['developer', accounts.developer.account.address],
    ['payer', accounts.payer.account.address],
  ])
  const market = { chainId: contracts.chainId, escrow: contracts.escrow }

  async function syncGrants(): Promise<void> {
    const blockNumber = await client.getBlockNumber({ cacheTime: 0 })
    for (const provider of providers.values()) {
      // A settlement with nothing to settle still looks at the chain first.
      while (provider.chainStatus().blockNumber < blockNumber) await provider.settler.settleNow(signal)
    }
  }

  async function settle(): Promise<void> {
    await syncGrants()
    for (const provider of providers.values()) await provider.settler.settleNow(signal)
    await syncGrants()
    for (const { settler } of providers.values())
      assert(settler.status().unsettledUsdc === 0n, 'all is settled')
  }

  /**
   * Free and reserved together: approving moves money between the two, and only settlement takes some away. Grants for
   * session keys are not seen.
   */
  async function readTotal(account: Address): Promise<bigint> {
    const { escrow } = contracts
    const free = await readBalance(client, { escrow, account }, signal)
    const grants = await Promise.all(
      [...earners.values()].flatMap((provider) =>
        [meteredSigner, account].map((signer) =>
          readGrant(client, escrow, { payer: account, provider, signer }, signal),
        ),
      ),
    )
    return grants.reduce((sum, grant) => sum + (grant?.budgetUsdc ?? 0n), free as bigint)
  }

  async function readTotals() {
    const read = async (entries: Iterable<[string, Address]>) =>
      new Map(await Promise.all([...entries].map(async ([name, a]) => [name, await readTotal(a)] as const)))
    return { payers: await read(payers), providers: await read(earners) }
  }

  const parts = starting.move()
  return {
    dev,
    market,
    user,
    dir,
    async deploy(program, ...flags) {
      const who = flags.some((flag) => flag === '--provider' || flag === '--public')
        ? []
        : ['--provider', 'alice']
      const { exitCode, stdout, stderr } = await user.run(['deploy', program, ...who, ...flags, '--json'])
      assert(exitCode === 0, `the deployment succeeds: ${stderr}${stdout}`)
      return JSON.parse(stdout)
    },
    call({ provider = 'alice', cid, path = '/', pass, rawHeaders = [], ...rest }) {
      return curl({
        port: gateway.port,
        host: `${provider}.${gateway.domain}`,
        path: cid === undefined ? path : `/${cid}${path}`,
        rawHeaders: pass === undefined ? rawHeaders : [...rawHeaders, 'authorization', `Bearer ${pass}`],
        ...rest,
      })
    },
    pass: (changes = {}, signer = accounts.payer.account) =>
      signPass({ ...defaultPass(dev), ...changes }, signer, market),
    async createPayer({ name, depositedUsdc = parseUsdc('10'), grants = [] }) {
      const privateKey = generatePrivateKey()
      const account = privateKeyToAccount(privateKey)
      await dev.chain.fund(account.address)
      const sender = createSender(
        { client, clock: systemClock, log: createTestLog() },
        account,
        market.chainId,
      )
      const signed = grants.map(({ signer, ...grant }) => ({
        ...grant,
        ...(signer && { signer: signer === 'payer' ? account.address : signer }),
      }))
      const endowment = { mintedUsdc: depositedUsdc, depositedUsdc, grants: signed }
      await endow(sender, contracts, endowment, { nowMs: systemClock.nowMs(), signal })
      payers.set(name, account.address)
      await syncGrants()
      return { account, privateKey }
    },
    syncGrants,
    settle,
    async costsOf(act) {
      await settle()
      const before = await readTotals()
      await act()
      await settle()
      const after = await readTotals()
      return {
        paid: difference(after.payers, before.payers),
        earned: difference(before.providers, after.providers),
      }
    },
    async startProvider(name, changes = {}, deps = {}) {
      const account = changes.account ?? privateKeyToAccount(generatePrivateKey())
      await dev.chain.fund(account.address)
      const sender = createSender(
        { client, clock: systemClock, log: createTestLog() },
        account,
        market.chainId,
      )
      await endowNames(sender, contracts, { account: account.address }, signal)
      const provider = guests.use(
        await createProvider(
          { clock: systemClock, random: () => 0.5, log: createTestLog(), ...deps },
          {
            name: parseName(name),
            account,
            rpcUrls: [dev.chain.rpcUrl],
            contracts,
            fromBlock: 0n,
            dir: join(dir, name),
            priceUsdc: parseUsdc('0.0005'),
            noticeHours: 48,
            reach: { kind: 'direct', host: '127.0.0.1', port: 0 },
            keepers: [new URL(gateway.info.keeper)],
            peers: [],
            version: 'test',
            mirrorIntervalMs: 200,
            settleIntervalMs: limits.settleIntervalMs,
            ...changes,
          },
          signal,
        ),
      )
      providers.set(name, provider)
      earners.set(name, provider.address)
      return provider
    },
    watchEarner: (name, address) => void earners.set(name, address),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

function defaultPass({ accounts, providers }: DevMarket): Pass {
  const nowSeconds = Math.floor(systemClock.nowMs() / 1000)
  return {
    payer: accounts.payer.account.address,
    providers: [providers.alice.address, providers.bob.address],
    deployment: anyDeployment,
    maxPricePerCall: parseUsdc('0.001'),
    maxSpend: parseUsdc('0.1'),
    validAfter: nowSeconds - 60,
    validBefore: nowSeconds + 600,
    id: toHex(randomBytes(32)) as Hex,
  }
}

function difference(
  less: ReadonlyMap<string, bigint>,
  more: ReadonlyMap<string, bigint>,
): Record<string, bigint> {
  const changes = [...more].map(([name, total]) => [name, total - (less.get(name) ?? 0n)] as const)
  return Object.fromEntries(changes.filter(([, change]) => change !== 0n))
}
