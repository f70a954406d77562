import type { Address } from 'viem'
import { systemClock } from '../../protocol/base/clock.ts'
import { createLog } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { createReputationReader } from '../../protocol/chain/reputation-reader.ts'
import { createSeedBlocks } from '../../protocol/chain/seed-blocks.ts'
import { type ErrorCode, ProtocolError } from '../../protocol/errors.ts'
import type { TlsIdentity } from '../../protocol/http/secure-server.ts'
import type { CID } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { openCluster, openClusterSoon } from '../cluster/open-cluster.ts'
import { createGateway, type Gateway } from '../gateway.ts'
import type { FrontRules } from '../limits/front-rules.ts'
import { createTxtLookup } from '../names/lookup-txt.ts'
import { createTunnelHub, type TunnelHub } from '../tunnels/tunnel-hub.ts'
import { askCertificates } from './ask-certificates.ts'
import { listenForHops, relayRequest } from './hop.ts'
import type { FromWorker, ToWorker, WorkerStart } from './messages.ts'
import { createSiblings, withSiblings } from './siblings.ts'

/**
 * A further process of a gateway: the same listener, names, tunnels and proxy. Pages, keeper and content are the first
 * process's. It starts, changes and stops as that one says, and ends with it.
 */
await using parts = new AsyncDisposableStack()
const siblings = createSiblings()
const blocks = new Map<number, PromiseWithResolvers<Uint8Array>>()
let blocksAsked = 0
let gateway: Gateway | undefined
const certificates = askCertificates({ clock: systemClock }, (id, servername) =>
  tell({ kind: 'certificate', id, servername }),
)

const tell = (message: FromWorker): void => {
  if (process.connected) process.send?.(message)
}

/** Content is found by the first process; this one checks nothing that it does not use. */
function fetchSpec(cid: CID): Promise<Uint8Array> {
  const waiting = Promise.withResolvers<Uint8Array>()
  const id = blocksAsked++
  blocks.set(id, waiting)
  tell({ kind: 'block', id, cid: cid.toString() })
  return waiting.promise
}

async function start(facts: WorkerStart): Promise<void> {
  const { options, rpcUrls, worker, path, homePath, ticketKey, logLevel, tracing, cluster } = facts
  const log = createLog({ level: logLevel, facts: { worker } })
  const { chainId, escrow, registry } = options.info
  const client = createChainClient({ chainId, rpcUrls: rpcUrls.map((url) => new URL(url)) })
  const poll = facts.pollIntervalMs === undefined ? {} : { pollIntervalMs: facts.pollIntervalMs }
  const present = new Set<Address>()
  siblings.set(facts.siblings)
  parts.use(siblings)
  const control = siblings.controlAt(homePath)
  let ownTunnels: TunnelHub | undefined

  gateway = await createGateway(
    {
      clock: systemClock,
      log,
      names: createNameReader({ client, clock: systemClock, log }, { registry, ...poll }),
      openTunnels(tunnelFacts) {
        const hub = createTunnelHub({
          clock: systemClock,
          log,
          domain: marketDomain({ chainId, escrow }),
          ...tunnelFacts,
          ticketKey,
          onPresence(provider, isPresent) {
            if (isPresent) present.add(provider)
            else present.delete(provider)
            tell({ kind: 'presence', provider, isPresent })
          },
        })
        ownTunnels = hub
        hops = listenForHops({ tunnels: hub, serveControl: undefined }, path)
        return withSiblings(hub, { siblings, has: (provider) => present.has(provider) })
      },
      fetchSpec,
      seedBlocks: createSeedBlocks({ client, clock: systemClock }),
      reputations: createReputationReader(client, { escrow, token: options.info.usdc }),
      lookupTxt: createTxtLookup(),
      ...(tracing && {
        tracer: (await import('../observe/otlp-tracer.ts')).createOtlpTracer({
          ...tracing,
          random: Math.random,
          version: options.info.version,
          instance: `${options.domain} ${worker}`,
        }),
      }),
      serveControl: (request, response) => relayRequest(request, response, control),
      ...(facts.hasDomainCertificates && { findCertificate: certificates.find }),
      ...(cluster && {
        joinCluster({ tunnels, tunnel, via }) {
          // What lies at siblings they tell the cluster themselves, and are asked for directly.
          const deps = { clock: systemClock, log, tunnels: ownTunnels ?? tunnels }
          return openClusterSoon(() => openCluster(deps, cluster, { tunnel, via }), deps)
        },
      }),
    },
    { ...options, sharesQuotas: true },
  )
  if (hops) parts.use(await hops)
  parts.use(gateway)
  const { quotas, seen } = gateway
  parts.use(
    repeat(
      { clock: systemClock, onError: (error) => log.error('worker_untold', { error: String(error) }) },
      limits.workerSpendIntervalMs,
      async () => {
        const spends = quotas.takeSpent()
        if (spends.length > 0) tell({ kind: 'spent', spends })
        const news = seen.take()
        if (news.calls.length + news.swarms.length > 0) tell({ kind: 'seen', seen: news })
      },
    ),
  )
  // What changed while it started.
  if (newest.rules) gateway.guard.change(newest.rules)
  if (newest.tls) gateway.setIdentity(newest.tls)
  tell({ kind: 'ready' })
}
/** What the first process has said since the start. */
const newest: { rules?: FrontRules; tls?: TlsIdentity } = {}
let hops: ReturnType<typeof listenForHops> | undefined

let isStopping = false
async function stop(): Promise<void> {
  if (isStopping) return
  isStopping = true
  await parts.disposeAsync()
  process.exit(0)
}

process.on('message', (message: ToWorker) => {
  switch (message.kind) {
    case 'start':
      start(message.start).catch((error) => {
        tell({ kind: 'failed', error: String(error) })
        process.exit(1)
      })
      break
    case 'siblings':
      siblings.set(message.siblings)
      break
    case 'rules':
      newest.rules = message.rules
      gateway?.guard.change(message.rules)
      break
    case 'identity':
      newest.tls = message.identity
      gateway?.setIdentity(message.identity)
      break
    case 'announced':
      gateway?.presence.hear(message.text)
      break
    case 'spent':
      gateway?.quotas.charge(message.spends)
      break
    case 'metrics': {
      const { id } = message
      void gateway?.metrics.readJson().then((metrics) => tell({ kind: 'metrics', id, metrics }))
      break
    }
    case 'block': {
      const waiting = blocks.get(message.id)
      blocks.delete(message.id)
      const { bytes, problem } = message
      if (bytes) waiting?.resolve(Buffer.from(bytes))
      else if (problem) {
        waiting?.reject(new ProtocolError(problem.code as ErrorCode, problem.message, { hint: problem.hint }))
      }
      break
    }
    case 'certificate':
      certificates.hear(message.id, message.pair)
      break
    case 'stop':
      void stop()
  }
})
// The first process says when; a terminal's signal reaches all of them. Without it there is nothing to go on for.
process.on('SIGINT', () => undefined)
process.on('SIGTERM', () => undefined)
process.on('disconnect', () => void stop())
// Keeps the process until it is told to stop.
await new Promise(() => undefined)
