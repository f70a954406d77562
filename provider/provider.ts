import { join } from 'node:path'
import { type Address, getAddress, type LocalAccount } from 'viem'
import type { AnnouncedFacts } from '../protocol/announcement.ts'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { createChainTime, createDevChainTime } from '../protocol/chain/chain-time.ts'
import { assertChain, createChainClient } from '../protocol/chain/client.ts'
import { createGrantMirror, type MirrorStatus } from '../protocol/chain/grant-mirror.ts'
import { createNameReader } from '../protocol/chain/name-reader.ts'
import { createSeedBlocks } from '../protocol/chain/seed-blocks.ts'
import { createTransactionSender } from '../protocol/chain/transaction-sender.ts'
import { isDevChain } from '../protocol/dev-chain.ts'
import type { EgressOffer } from '../protocol/egress.ts'
import { listen } from '../protocol/http/listen.ts'
import type { RequestListener } from '../protocol/http/listener.ts'
import { serveMetrics } from '../protocol/http/serve-metrics.ts'
import { limits } from '../protocol/limits.ts'
import type { Name } from '../protocol/name.ts'
import { createPresenceVoice } from '../protocol/presence-key.ts'
import type { ProviderInfo } from '../protocol/provider.ts'
import { marketDomain } from '../protocol/typed-data.ts'
import type { Usdc } from '../protocol/usdc.ts'
import type { TunnelStatus } from '../tunnel-client/connect-tunnel.ts'
import { loopbackLookup } from '../tunnel-client/loopback-lookup.ts'
import { createContractSignatures } from './admission/contract-signatures.ts'
import { createFindPayer } from './admission/find-payer.ts'
import { createIdleChecks } from './admission/idle-checks.ts'
import { createPlaces } from './admission/places.ts'
import { createUnpaidRuns } from './admission/unpaid-runs.ts'
import { createAnnouncer } from './announcer.ts'
import { openAttester } from './attest/attester.ts'
import { createBallots } from './ballots/ballots.ts'
import { serveReveal } from './ballots/serve-reveal.ts'
import { type ProviderControl, serveControl } from './control/serve-control.ts'
import { createDeployments } from './deployments/deployments.ts'
import { createDidPage } from './did-page.ts'
import { createEgressNetwork } from './egress/egress-network.ts'
import { type Fault, withFault, withWrongId } from './faults.ts'
import { createAccountPages } from './http/account-pages.ts'
import { createBodyRoom } from './http/call-body.ts'
import { createCallIds } from './http/call-ids.ts'
import { createLogPages } from './http/log-pages.ts'
import { createPages } from './http/pages.ts'
import { createPresencePages } from './http/presence-pages.ts'
import { type CallDeps, runCall } from './http/run-call.ts'
import { createFront } from './http/serve.ts'
import { keepName } from './keep-name.ts'
import { openLedger } from './ledger/ledger.ts'
import { openProgramLog } from './logs/program-log.ts'
import { createProviderMetrics } from './metrics.ts'
import { openContent } from './open-content.ts'
import { openPrograms } from './open-programs.ts'
import { openRules } from './policy/rules.ts'
import { createPresence, isTunnelUrl } from './presence.ts'
import { registerProvider } from './register-provider.ts'
import { openCallRecords } from './replay/call-records.ts'
import { createRecordPages } from './replay/record-pages.ts'
import type { NativeOptions } from './runtime/native/native-runtime.ts'
import { openSealKeys } from './seal-keys.ts'
import { changeSettings } from './settings.ts'
import type { FeeLimit } from './settlement/decide-worth.ts'
import { createProofs, transactionOf } from './settlement/prove-collected.ts'
import { createSettler, type Settler } from './settlement/settler.ts'
import type { SettlementsStatus } from './x402/settlements.ts'
import { openX402 } from './x402/x402.ts'

export interface ProviderDeps {
  readonly clock: Clock
  /** Uniform in [0, 1), for jitter. */
  readonly random: () => number
  readonly log: Log
  /** Hears of the steps of a registration, which takes a minute. */
  readonly onProgress?: (step: string) => void
}

/** How callers reach the provider. */
export type Reach =
  | {
      readonly kind: 'direct'
      /** Address to listen on. */
      readonly host: string
      /** 0 takes a free one. */
      readonly port: number
      /** What the Resolver says; `http://<host>:<port>` by default. */
      readonly publicUrl?: string
    }
  | {
      readonly kind: 'tunnel'
      /** `ws(s)://<gateway>/_/tunnel`. No port is opened here. */
      readonly gatewayUrl: string
    }

export interface ProviderOptions {
  readonly name: Name
  /** Owns the name, signs for the tunnel, receives the money, pays for gas. */
  readonly account: LocalAccount
  readonly rpcUrls: readonly URL[]
  readonly contracts: { readonly chainId: number; readonly escrow: Address; readonly registry: Address }
  /** The block of the escrow's deployment, or any before the first grant. */
  readonly fromBlock: bigint
  /** Keys, ledger, content. One provider at a time. */
  readonly dir: string
  readonly priceUsdc: Usdc
  /** Hours that it needs to settle in after a grant was revoked; grants with a shorter notice pay for nothing here. */
  readonly noticeHours: number
  readonly reach: Reach
  /** What the Resolver says, where it is not what `reach` says: an origin, or a gateway's tunnel. */
  readonly endpoint?: string
  /** Origins of keepers from which deployments are fetched. */
  readonly keepers: readonly URL[]
  /** Multiaddresses of IPFS peers to ask after the keepers. */
  readonly peers: readonly string[]
  readonly version: string
  readonly mirrorIntervalMs?: number
  readonly settleIntervalMs?: number
  readonly settleThresholdUsdc?: Usdc
  /** Money of the chain: what gas may cost, and when somebody is to be told. */
  readonly spending?: Spending
  /** How long an answer that is paid by x402 waits for its payment to be mined. */
  readonly x402WaitMs?: number
  /** Shows metrics on this port of loopback; 0 takes a free one. */
  readonly metricsPort?: number
  /** Whether it runs native programs, too, and what of this machine they can read. */
  readonly native?: NativeOptions
  /** The most that programs may reach: what their deployments list, by default. */
  readonly egress?: EgressOffer | undefined
  /** Whether that may be on this machine or in its network, too; on development chains only. */
  readonly egressAllowsPrivate?: boolean
  readonly announce?: AnnounceOptions
  readonly fault?: Fault
}

export interface AnnounceOptions {
  /** Origins of the gateways that are told every few seconds that the provider is there. */
  readonly gateways: readonly URL[]
  /** Where it stands, in its operator's words. */
  readonly region?: string | undefined
}

export interface Spending {
  /** See `TransactionSenderOptions`. */
  readonly gasPriceWeiMax?: bigint
  /** See `SettlerOptions`. */
  readonly feeLimit?: FeeLimit
  readonly alarmUsdc?: Usdc
  readonly alarmAgeMs?: number
}

/** Disposal takes no more calls, finishes those in flight, settles what is owed, and closes the books. */
export interface Provider extends AsyncDisposable {
  readonly address: Address
  /** What its Resolver says. */
  readonly server: string
  /** Where it listens; undefined behind a tunnel. */
  readonly url: URL | undefined
  readonly info: ProviderInfo
  /** Where metrics are, if they were asked for. */
  readonly metricsPort: number | undefined
  /** What it took to make the chain say this: labels of transactions. */
  readonly registered: readonly string[]
  /** What native programs run in, in words; absent where it runs none. */
  readonly nativeEngine: string | undefined
  readonly settler: Settler
  chainStatus(): MirrorStatus
  tunnelStatus(): TunnelStatus | undefined
  /** Of payments by x402; undefined where none are taken. */
  x402Status(): SettlementsStatus | undefined
}

/**
 * Starts a provider: keys, books, grants, programs, content; registers its name where the chain does not say so yet; and
 * serves. If a part fails to start, those before it are closed.
 *
 * @throws ProtocolError `chain_unreachable`, `name_taken`, `port_taken`, `tunnel_refused`, `ledger_unavailable`, …
 */
export async function createProvider(
  { clock, random, log: parentLog, onProgress = () => undefined }: ProviderDeps,
  options: ProviderOptions,
  signal: AbortSignal,
): Promise<Provider> {
  await using starting = new AsyncDisposableStack()
  const { account, dir, name, reach } = options
  // Specs carry checksummed addresses and are compared with these.
  const contracts = { ...options.contracts, escrow: getAddress(options.contracts.escrow) }
  const log = parentLog.with({ provider: name })
  const market = { chainId: contracts.chainId, escrow: contracts.escrow }
  const { chainId } = market
  const network = createEgressNetwork({ chainId, allowPrivate: options.egressAllowsPrivate ?? false })
  const { gasPriceWeiMax, ...settlerSpending } = options.spending ?? {}
  const mirrorIntervalMs = options.mirrorIntervalMs ?? limits.mirrorIntervalMs

  const client = createChainClient({ chainId: contracts.chainId, rpcUrls: options.rpcUrls })
  await assertChain(client, contracts.chainId, signal)
  const sealKeys = await openSealKeys({ clock }, join(dir, 'keys'))
  const attester = starting.use(await openAttester({ log }, join(dir, 'keys')))
  const proofs = starting.use(
    createProofs(
      { client, clock, log, transactionOf: (from) => transactionOf(mirror, from) },
      { provider: account.address, market },
    ),
  )
  const ledger = starting.use(
    await openLedger({ clock, log, proofs }, { dir: join(dir, 'ledger'), account, market }, signal),
  )
  const sender = createTransactionSender(
    { client, clock, log, store: ledger.transactions },
    {
      account,
      chainId: contracts.chainId,
      open: await ledger.transactions.readOpen(),
      pollIntervalMs: mirrorIntervalMs,
      ...(gasPriceWeiMax !== undefined && { gasPriceWeiMax }),
    },
  )
  const mirror = starting.use(
    await createGrantMirror(
      { client, clock, log },
      {
        escrow: contracts.escrow,
        provider: account.address,
        fromBlock: options.fromBlock,
        intervalMs: mirrorIntervalMs,
        ...(!isDevChain(contracts) && { headStillMsMax: limits.headStillMsMax }),
      },
      signal,
    ),
  )
  const settler = starting.use(
    createSettler(
      { ledger, mirror, sender, clock, log },
      {
        escrow: contracts.escrow,
        intervalMs: options.settleIntervalMs ?? limits.settleIntervalMs,
        ...(options.settleThresholdUsdc !== undefined && { thresholdUsdc: options.settleThresholdUsdc }),
        ...settlerSpending,
      },
    ),
  )
  const payee = { provider: account.address, name, market }
  const gateways = options.announce?.gateways ?? []
  const voice = createPresenceVoice({ nowMs: clock.nowMs }, { account, market })
  const x402 = await openX402(
    { client, clock, log, random, ledger, sender, blockNumber: () => mirror.status().blockNumber },
    {
      ...payee,
      recheckIntervalMs: mirrorIntervalMs,
      ...(options.x402WaitMs !== undefined && { settleWaitMs: options.x402WaitMs }),
    },
    signal,
  )
  if (x402) starting.use(x402)
  const programLog = starting.use(openProgramLog({ clock, log }, dir))
  const callRecords = starting.use(openCallRecords({ clock, log }, { dir }))
  const rules = starting.use(
    await openRules(
      {
        clock,
        log,
        programLog,
        peek: (cid) => deployments.peek(cid),
        onChange({ capacity }) {
          places.setCapacity(capacity)
          programs.setCapacity(capacity.memoryMiB)
        },
      },
      dir,
    ),
  )
  const { capacity, limitsOf } = rules
  const capacityMiB = capacity.memoryMiB
  const places = createPlaces({ clock }, { capacity })
  const programs = starting.use(
    await openPrograms(
      { clock, log, network, programLog, attester },
      {
        chainId,
        owner: account.address,
        capacityMiB,
        restMsMax: () => rules.policy.restSecondsMax * 1000,
        limitsOf,
        native: options.native,
        egress: options.egress,
      },
      signal,
    ),
  )
  // The address is known once the listener stands; what is asked before that waits for the rest of this function.
  let handler: RequestListener | undefined
  const serve: RequestListener = (request, response) => {
    if (handler) handler(request, response)
    else response.destroy()
  }
  const listener =
    reach.kind === 'direct' &&
    starting.use(await listen({ host: reach.host, port: reach.port, onRequest: serve, onSwitch: serve }))
  const server = options.endpoint ?? serverRecord(reach, listener ? listener.url : undefined)

  const content = starting.use(
    await openContent(
      { clock, log },
      {
        dir,
        market,
        audience: () => publicOrigin(presence.server, name),
        keepers: options.keepers,
        peers: options.peers,
        // At home there is no listening port, not even one for IPFS.
        opensPort: reach.kind === 'direct',
      },
      signal,
    ),
  )
  const deployments = createDeployments(content, {
    market,
    provider: account.address,
    sealKeys: sealKeys.byKid,
    runtimes: programs.kinds,
    assertTakes: programs.assertTakes,
    mayRun: programs.mayRun,
    allowsEgress: programs.allowsEgress,
    assertCid: rules.assertCid,
  })
  let tunnelStatus = (): TunnelStatus | undefined => undefined
  const metrics = createProviderMetrics({
    clock,
    settler: () => settler.status(),
    mirror: () => mirror.status(),
    x402: () => x402?.status(),
    tunnel: () => tunnelStatus(),
    programsRunning: programs.count,
    programsResting: programs.resting,
    programRests: programs.rests,
  })
  let { priceUsdc } = options
  const info = (): ProviderInfo => ({
    name,
    address: account.address,
    ...market,
    price: priceUsdc,
    noticeHours: options.noticeHours,
    terms: null,
    kid: sealKeys.kid,
    runtimes: [...programs.kinds],
    tier: programs.tier,
    egress: programs.egress,
    limits: rules.maxima,
    version: options.version,
  })
  const contractSignatures = createContractSignatures({
    client,
    clock,
    log,
    blockNumber: () => mirror.status().blockNumber,
  })
  const askContract = contractSignatures.ask
  const idleChecks = createIdleChecks({ clock })
  starting.defer(ledger.onCharged((_, payer) => idleChecks.addPaid(payer)))
  const ballots = starting.use(
    createBallots({ clock, seedBlocks: createSeedBlocks({ client, clock }) }, { provider: account.address }),
  )
  const callDeps: CallDeps = {
    clock,
    log,
    createCallId: createCallIds({ clock }),
    deployments,
    findPayer: createFindPayer(
      {
        clock,
        log,
        grants: mirror,
        revokedPasses: ledger.revokedPasses,
        hasPaid: ledger.hasPaid,
        voucherAccesses: ledger.voucherAccesses,
        idleChecks,
        contracts: contractSignatures,
        ...(x402 && { readPayment: x402.read }),
      },
      payee,
    ),
    unpaidRuns: createUnpaidRuns({ clock }),
    places,
    rules,
    x402,
    grants: mirror,
    ledger: options.fault === 'wrong-id' ? { ...ledger, signVote: withWrongId(ledger.signVote) } : ledger,
    instanceOf: async (deployment, use, callSignal) =>
      withFault(
        await programs.acquire(
          deployment,
          (loadSignal) => deployments.readProgram(deployment, loadSignal),
          callSignal,
          use,
        ),
        options.fault,
        clock,
      ),
    needsOf: programs.needsOf,
    ballots,
    programLog,
    callRecords,
    metrics,
    bodyRoom: createBodyRoom(limits.idempotentBodiesBytesMax),
    chainLostForMs: () => mirror.status().lostForMs,
  }
  const did = createDidPage(
    {
      clock,
      state: async () => ({
        name,
        endpoint: presence.server,
        receiptKey: ledger.receiptKey(),
        presenceKey: (await voice.key()).publicKey,
        attestKey: await attester.key(),
        sealKeyDer: sealKeys.publicKeyDer,
      }),
      hosts: () => [
        ...gateways.map((gateway) => subdomainOf(gateway, name)),
        new URL(publicOrigin(presence.server, name)),
      ],
    },
    { account, market, registry: getAddress(contracts.registry) },
  )
  const pages = createPages({
    log,
    info,
    deployments,
    rules,
    readReceipt: ledger.readReceipt,
    readSignedReceipt: ledger.readSignedReceipt,
    readShownRoot: ledger.history.readShownRoot,
    keeper: content.routes,
    presence: createPresencePages({ clock, voice, did, version: options.version }),
    account: createAccountPages({ clock, askContract, ledger, grants: mirror }, payee),
    logs: createLogPages({ clock, askContract, deployments, programLog }, payee),
    records: createRecordPages({ clock, askContract, callRecords }, payee),
    ...(options.fault && { fault: options.fault }),
  })
  const callOptions = { ...payee, priceUsdc: () => priceUsdc, noticeHours: options.noticeHours }
  const front = createFront({
    ...{ log, pages },
    runCall: (call) => runCall(callDeps, callOptions, call),
    reveal: (request, response) => serveReveal(ballots, request, response),
  })
  handler = front.onRequest

  const registerDeps = {
    client,
    chainTime: isDevChain(market)
      ? createDevChainTime({ client, clock })
      : createChainTime({ client, clock }),
    names: createNameReader({ client, clock, log }, { registry: contracts.registry }),
    sender,
    onProgress,
  }
  const place = { name, chainId: market.chainId, registry: contracts.registry }
  const presence = starting.use(
    createPresence(
      {
        clock,
        random,
        log,
        serve,
        register: (at, registerSignal) =>
          registerProvider(
            registerDeps,
            { ...place, server: at, publicKeyDer: sealKeys.publicKeyDer },
            registerSignal,
          ),
      },
      { server, isListening: Boolean(listener), tunnel: { name, account, domain: marketDomain(market) } },
    ),
  )
  tunnelStatus = () => presence.tunnelStatus()
  const served =
    options.metricsPort !== undefined &&
    starting.use(await serveMetrics(metrics, { port: options.metricsPort }))
  const registered = await presence.publish(signal)
  starting.use(keepName({ client, sender, clock, log }, place))
  const control: ProviderControl = {
    rules,
    places,
    identity: { provider: account.address, market },
    history: ledger.history,
    proofs,
    status: () => ({
      info: info(),
      server: presence.server,
      settler: settler.status(),
      chain: mirror.status(),
      x402: x402?.status(),
      tunnel: presence.tunnelStatus(),
      programsRunning: programs.count(),
      programsResting: programs.resting(),
    }),
    async setPrice(wantedUsdc) {
      await changeSettings(dir, { priceUsdc: wantedUsdc })
      const previousUsdc = priceUsdc
      priceUsdc = wantedUsdc
      return previousUsdc
    },
    async rotateKey(controlSignal) {
      const rotated = await sealKeys.rotate()
      return { ...rotated, done: await presence.publish(controlSignal) }
    },
    async setEndpoint(endpoint, controlSignal) {
      const done = await presence.moveTo(endpoint, controlSignal)
      await changeSettings(dir, { endpoint })
      return done
    },
  }
  starting.use(await serveControl({ control, log }, dir))
  const facts = (): AnnouncedFacts => {
    const { price, runtimes, tier, egress, version } = info()
    const { capacity, calls } = places.status()
    const memoryMiB = Number.isFinite(capacity.memoryMiB) ? capacity.memoryMiB : null
    return {
      ...{ name, price, runtimes, tier, egress, version },
      endpoint: presence.server,
      region: options.announce?.region ?? null,
      capacity: { memoryMiB, calls: limits.callsRunningPerProviderMax, callsInFlight: calls },
    }
  }
  // The first thing to be undone: what callers meet is a refusal that says when to come back, not a closed port.
  starting.defer(async () => {
    const patience = new AbortController()
    const late = clock.sleep(limits.shutdownTimeoutMs, patience.signal).catch(() => undefined)
    await Promise.race([front.drain(), late])
    patience.abort()
    programs.endAll('the provider is shutting down')
  })
  // Before even that: who asks for a provider from now on is to find another one.
  starting.use(
    createAnnouncer({ clock, log, voice, facts, lookup: loopbackLookup, proxyEnv: process.env }, gateways),
  )

  log.info('provider_started', {
    address: account.address,
    server,
    tier: programs.tier,
    price: priceUsdc.toString(),
  })
  const parts = starting.move()
  return {
    address: account.address,
    get server() {
      return presence.server
    },
    url: listener ? listener.url : undefined,
    get info() {
      return info()
    },
    metricsPort: served ? served.port : undefined,
    registered,
    nativeEngine: programs.nativeEngine,
    settler,
    chainStatus: () => mirror.status(),
    tunnelStatus: () => tunnelStatus(),
    x402Status: () => x402?.status(),
    async [Symbol.asyncDispose]() {
      await parts.disposeAsync()
      log.info('provider_stopped')
    },
  }
}

function serverRecord(reach: Reach, url: URL | undefined): string {
  if (reach.kind === 'tunnel') return reach.gatewayUrl
  return reach.publicUrl ?? (url as URL).origin
}

/** For whom uploads are signed: behind a tunnel, the gateway's subdomain. */
function publicOrigin(server: string, name: Name): string {
  const { protocol, host, origin } = new URL(server)
  if (!isTunnelUrl(server)) return origin
  return `${protocol === 'wss:' ? 'https' : 'http'}://${name}.${host}`
}

/** Where callers of a gateway find the provider. */
const subdomainOf = ({ protocol, host }: URL, name: Name): URL => new URL(`${protocol}//${name}.${host}`)
