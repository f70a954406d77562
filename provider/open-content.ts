import { join } from 'node:path'
import type { Hono } from 'hono'
import type { Address } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { repeat } from '../protocol/base/repeat.ts'
import type { CID } from '../protocol/ipfs/cid.ts'
import { type ContentSource, createContentSource } from '../protocol/ipfs/fetch-content.ts'
import { createHeliaNode, type HeliaNode } from '../protocol/ipfs/helia-node.ts'
import { createKeeper } from '../protocol/ipfs/keeper.ts'
import { openBlockstore } from '../protocol/ipfs/open-blockstore.ts'
import { limits } from '../protocol/limits.ts'
import type { Market } from '../protocol/typed-data.ts'

export interface ContentOptions {
  readonly dir: string
  readonly market: Market
  /** Public origin of the provider now: uploads are signed for it. */
  readonly audience: () => string
  readonly keepers: readonly URL[]
  readonly peers: readonly string[]
  /** Whether other peers may connect; those that the provider dials can ask it for blocks in any case. */
  readonly opensPort: boolean
}

/** A provider's store: what it fetched it keeps, and gives to others. */
export interface Content extends AsyncDisposable, ContentSource {
  /** The keeper's, `/ipfs/…`. */
  readonly routes: Hono
  /** Keeps what the provider has agreed to serve, so that calls survive developer and gateway. */
  keep(root: CID, owner: Address): Promise<void>
}

export async function openContent(
  { clock, log }: { clock: Clock; log: Log },
  { dir, market, audience, keepers, peers, opensPort }: ContentOptions,
  signal: AbortSignal,
): Promise<Content> {
  await using starting = new AsyncDisposableStack()
  const blockstore = await openBlockstore(join(dir, 'blocks'))
  const node = starting.use(
    await createHeliaNode(
      { blockstore, log },
      { dir: join(dir, 'peer'), ...(!opensPort && { listen: [] }) },
      signal,
    ),
  )
  await Promise.all(peers.map((address) => dial(node, address, log, signal)))
  const keeper = starting.use(
    await createKeeper({ blockstore, clock, log }, { dir: join(dir, 'keeper'), audience, market }),
  )
  starting.use(
    repeat(
      { clock, onError: (error) => log.warn('garbage_kept', { error: String(error) }) },
      limits.keeperCollectIntervalMs,
      (collectSignal) => keeper.collectGarbage(collectSignal),
    ),
  )
  const source = createContentSource({ blockstore, sources: keepers, peers: node, clock, log })
  const stopping = new AbortController()
  starting.defer(() => stopping.abort())
  const parts = starting.move()
  return {
    routes: keeper.routes(),
    fetchFile: source.fetchFile,
    keep: (root, owner) =>
      keeper.pin(root, { owner, expiresAtMs: clock.nowMs() + limits.keeperPinAgeMsDefault }, stopping.signal),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** A peer that is away is no reason not to start: keepers come first anyway. */
async function dial(node: HeliaNode, address: string, log: Log, signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.connectTimeoutMs)])
  await node
    .dial(address, deadline)
    .catch((error) => log.warn('peer_unreachable', { address, error: String(error) }))
}
