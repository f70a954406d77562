import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import type { ClusterFacts } from '../gateway.ts'
import { type Cluster, type ClusterDeps, type ClusterOptions, joinCluster } from './cluster.ts'

/** How a process of a gateway joins others by NATS. */
export interface StartClusterOptions
  extends Pick<ClusterOptions, 'hopHost' | 'hopPort' | 'hopUrl' | 'hopNetworks' | 'homes'> {
  /** Of NATS with JetStream. */
  readonly servers: readonly string[]
}

interface OpenClusterDeps {
  readonly clock: Clock
  readonly log: Log
  readonly tunnels: ClusterDeps['tunnels']
}

/**
 * Joins a cluster over NATS, whose library is loaded by those who use it.
 *
 * @throws ProtocolError `config_invalid` where NATS cannot be reached
 */
export async function openCluster(
  deps: OpenClusterDeps,
  { servers, ...options }: StartClusterOptions,
  facts: Pick<ClusterFacts, 'tunnel' | 'via'> & Pick<ClusterOptions, 'words'>,
): Promise<Cluster> {
  const { openNatsStore } = await import('./nats-store.ts')
  const store = await openNatsStore(deps, { servers })
  return joinCluster({ ...deps, store }, { ...options, ...facts })
}

/**
 * The same for a process that is to serve, with its own tunnels and those of its siblings, whether or not NATS is there:
 * it is tried until it is.
 */
export async function openClusterSoon(open: () => Promise<Cluster>, deps: OpenClusterDeps): Promise<Cluster> {
  const { clock, log } = deps
  const stop = new AbortController()
  let cluster: Cluster | undefined
  const tryOnce = async (): Promise<void> => {
    try {
      cluster = await open()
    } catch (error) {
      log.warn('cluster_unjoined', { error: String(error) })
    }
  }
  await tryOnce()
  const joining = (async () => {
    while (!cluster && !stop.signal.aborted) {
      await clock.sleep(limits.workerRestartDelayMs, stop.signal).catch(() => undefined)
      if (!stop.signal.aborted) await tryOnce()
    }
  })()
  return {
    upstreamFor: (provider) => cluster?.upstreamFor(provider),
    otherGateways: () => cluster?.otherGateways() ?? [],
    tellDeny: (deny) => cluster?.tellDeny(deny),
    tellAnnounced: (provider, text) => cluster?.tellAnnounced(provider, text),
    isConnected: () => cluster?.isConnected() ?? false,
    get hopPort() {
      return cluster?.hopPort ?? 0
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('The gateway has closed.'))
      await joining
      await cluster?.[Symbol.asyncDispose]()
    },
  }
}
