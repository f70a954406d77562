import { createHash, randomUUID } from 'node:crypto'
import type { Address } from 'viem'
import { getAddress, isAddress } from 'viem'
import { z } from 'zod'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import { type Lookup, lookupWithSystem } from '../../protocol/http/dial-checked.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import { type DenySettings, denySchema } from '../limits/deny-list.ts'
import { type SharedQuotas, type Spend, spendsSchema } from '../limits/spend-book.ts'
import { openHopListener } from './hop-listener.ts'
import { createHops } from './hops.ts'
import { createMembers, memberSchema } from './members.ts'
import type { ClusterStore } from './nats-store.ts'

/** The other gateways of a cluster: who is there, who has whose tunnels, and the way to them. */
export interface Cluster extends AsyncDisposable {
  /** What reaches a provider whose tunnels are at other gateways, or undefined where no gateway has any. */
  upstreamFor(provider: Address): Upstream | undefined
  /** The tunnels of the gateways that providers of this one should dial, too. */
  otherGateways(): readonly string[]
  /** Tells the others what this gateway denies from now on. */
  tellDeny(deny: DenySettings): void
  /** Tells the others what a provider has said here. */
  tellAnnounced(provider: Address, text: string): void
  /** Whether the others can be heard at the moment. */
  isConnected(): boolean
  /** Where other gateways hand over requests. */
  readonly hopPort: number
}

export interface ClusterDeps {
  readonly clock: Clock
  readonly log: Log
  /** The cluster owns it. */
  readonly store: ClusterStore
  readonly lookup?: Lookup
  /** The tunnels of this very gateway. */
  readonly tunnels: {
    upstreamFor(provider: Address): Upstream | undefined
    connected(): readonly { readonly provider: Address }[]
  }
}

export interface ClusterOptions {
  /** Where other gateways hand over requests: an address of a network that callers are not in. */
  readonly hopHost: string
  readonly hopPort: number
  /** How the others reach it; made of the two above by default. */
  readonly hopUrl?: string
  /** Where providers dial this gateway. */
  readonly tunnel: string
  /** How many gateways each provider is to dial. */
  readonly homes: number
  /** The name of this gateway in `Via`. */
  readonly via: string
  /** What this gateway denies. */
  readonly deny: DenySettings
  /** Hears what the others deny, whenever that changes. */
  readonly onDeny: (others: readonly DenySettings[]) => void
  /** Hears what a provider has said to another gateway. */
  readonly onAnnounced: (text: string) => void
  /** What all count together. */
  readonly quotas: SharedQuotas
}

/** Joins a cluster; on disposal it says that it leaves. */
export async function joinCluster(deps: ClusterDeps, options: ClusterOptions): Promise<Cluster> {
  await using joining = new AsyncDisposableStack()
  const { clock, log, tunnels } = deps
  const store = joining.use(deps.store)
  const nodeId = randomUUID()
  const listener = joining.use(
    await openHopListener(
      { clock, log, secret: store.secret, localTunnel: tunnels.upstreamFor },
      { host: options.hopHost, port: options.hopPort, via: options.via },
    ),
  )
  const facts = JSON.stringify({ hopUrl: options.hopUrl ?? listener.url.href, tunnel: options.tunnel })
  const members = createMembers({ clock })
  const hops = joining.use(
    createHops({ clock, members, secret: store.secret, lookup: deps.lookup ?? lookupWithSystem }),
  )

  let deny = JSON.stringify(options.deny)
  let toldDeny: string | undefined
  const othersDeny = new Map<string, DenySettings>()
  const hearDeny = (other: string, value: string | undefined): void => {
    const said = value === undefined ? undefined : parseAs(denySchema, value)
    if (said) othersDeny.set(other, said)
    else if (value !== undefined) {
      // What it said before holds on: what somebody denies must not be let through for a word that nobody understands.
      log.warn('cluster_deny_unread', { nodeId: other, hint: 'Run the same version at all gateways.' })
      return
    } else if (!othersDeny.delete(other)) return
    options.onDeny([...othersDeny.values()])
  }

  const heardSpent = new Map<string, number>()
  const hearSpent = (other: string, value: string | undefined): void => {
    const report = value === undefined ? undefined : parseAs(spentSchema, value, limits.clusterSpendBytesMax)
    // One whose answer was lost is told again.
    if (!report || report.number <= (heardSpent.get(other) ?? 0)) return
    heardSpent.set(other, report.number)
    options.quotas.charge(report.spends)
  }

  // What was kept from before says nothing: whoever is there says so again within seconds.
  const hearAnnounced = (text: string | undefined): void => {
    if (text !== undefined && text.length <= limits.announcementBytesMax) options.onAnnounced(text)
  }

  store.watch((key, value, { isNew }) => {
    const [kind, first = '', second = ''] = key.split('.')
    if (first === nodeId || second === nodeId) return
    if (kind === 'node') {
      const member = value === undefined ? undefined : parseAs(memberSchema, value)
      if (member) members.hear(first, member, { isNew })
      else {
        members.forget(first)
        heardSpent.delete(first)
      }
    } else if (kind === 'route' && isAddress(first)) {
      members.route(getAddress(first), second, value !== undefined)
    } else if (kind === 'deny') hearDeny(first, value)
    else if (kind === 'alive') hearAnnounced(isNew ? value : undefined)
    else if (kind === 'spent') hearSpent(first, isNew ? value : undefined)
  })

  /** What the others know of the tunnels here. */
  const told = new Set<Address>()
  const tell = async (): Promise<void> => {
    if (!store.isConnected()) return
    const here = new Set(tunnels.connected().map(({ provider }) => provider))
    for (const provider of here) {
      if (told.has(provider)) continue
      await store.put(routeKey(provider, nodeId), '')
      told.add(provider)
    }
    for (const provider of told) {
      if (here.has(provider)) continue
      told.delete(provider)
      await store.delete(routeKey(provider, nodeId))
    }
    // Last, so that calls find their way whatever becomes of it.
    if (toldDeny !== deny) await tellDeny(deny)
  }
  const tellDeny = async (telling: string): Promise<void> => {
    const bytes = Buffer.byteLength(telling)
    if (bytes <= store.valueBytesMax) await store.put(`deny.${nodeId}`, telling)
    else
      log.error('cluster_deny_untold', {
        bytes,
        hint: `The others go by what it was before. Shorten the lists, or raise max_payload of NATS above ${bytes}.`,
      })
    toldDeny = telling
  }
  let losses = 0
  const beat = async (): Promise<void> => {
    if (store.losses() > losses) {
      losses = store.losses()
      // What was told may be lost by now.
      told.clear()
      toldDeny = undefined
    }
    if (!store.isConnected()) {
      members.pardon()
      return
    }
    await store.put(`node.${nodeId}`, facts)
    for (const gone of members.gone()) {
      for (const provider of members.forget(gone)) await store.delete(routeKey(provider, gone))
      for (const kind of ['node', 'deny', 'spent']) await store.delete(`${kind}.${gone}`)
    }
  }
  let reports = 0
  let report: SpentReport | undefined
  const tellSpent = async (): Promise<void> => {
    // What nobody hears of soon is not told later: by then its tokens have come back.
    if (!store.isConnected()) {
      while (options.quotas.takeSpent().length > 0) report = undefined
      report = undefined
      return
    }
    if (!report) {
      const spends = options.quotas.takeSpent()
      if (spends.length === 0) return
      report = { number: ++reports, spends }
    }
    await store.put(`spent.${nodeId}`, JSON.stringify(report))
    report = undefined
  }
  const onError = (error: unknown) => log.warn('cluster_untold', { error: String(error) })
  joining.defer(async () => {
    if (!store.isConnected()) return
    for (const provider of told) await store.delete(routeKey(provider, nodeId)).catch(onError)
    await store.delete(`deny.${nodeId}`).catch(onError)
    await store.delete(`spent.${nodeId}`).catch(onError)
    await store.delete(`node.${nodeId}`).catch(onError)
  })
  await beat()
  joining.use(repeat({ clock, onError }, limits.clusterHeartbeatMs, beat))
  joining.use(repeat({ clock, onError }, limits.clusterTellIntervalMs, tell))
  joining.use(repeat({ clock, onError }, limits.clusterSpendIntervalMs, tellSpent))
  log.info('cluster_joined', { nodeId, hopPort: listener.port })

  const parts = joining.move()
  return {
    upstreamFor: hops.upstreamFor,
    hopPort: listener.port,
    isConnected: store.isConnected,
    tellDeny(next) {
      deny = JSON.stringify(next)
    },
    tellAnnounced(provider, text) {
      if (store.isConnected()) store.put(`alive.${provider.toLowerCase()}`, text).catch(onError)
    },
    otherGateways: () => pickHomes(nodeId, members.live(), options.homes - 1),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

const routeKey = (provider: Address, nodeId: string): string => `route.${provider.toLowerCase()}.${nodeId}`

/** What a gateway let through since its last word. */
interface SpentReport {
  /** From 1 on. */
  readonly number: number
  readonly spends: readonly Spend[]
}

const spentSchema: z.ZodType<SpentReport> = z.object({ number: z.int().min(1), spends: spendsSchema })

function parseAs<T>(
  schema: z.ZodType<T>,
  text: string,
  bytesMax = limits.clusterValueBytesMax,
): T | undefined {
  if (text.length > bytesMax) return undefined
  try {
    return schema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
}

/** Each gateway has partners of its own, the same ones for as long as they live, and all are chosen about as often. */
function pickHomes(
  nodeId: string,
  live: readonly { readonly nodeId: string; readonly tunnel: string }[],
  count: number,
): string[] {
  const weight = (other: string) => createHash('sha256').update(`${nodeId} ${other}`).digest('hex')
  return live
    .map(({ nodeId: other, tunnel }) => ({ tunnel, weight: weight(other) }))
    .sort((a, b) => (a.weight < b.weight ? -1 : 1))
    .slice(0, count)
    .map(({ tunnel }) => tunnel)
}
