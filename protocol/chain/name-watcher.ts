import { type Address, type Log as ChainLog, getAbiItem, getAddress, type PublicClient } from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { raceSignal } from '../base/signal.ts'
import { limits } from '../limits.ts'
import type { NameChange } from '../name.ts'
import { registryAbi, resolverAbi } from './contracts.ts'

interface WatchOptions {
  readonly registry: Address
  readonly pollIntervalMs?: number
  /** Read at each look, so that it may grow. */
  readonly resolvers: Iterable<Address>
}

const events = [
  getAbiItem({ abi: registryAbi, name: 'Transfer' }),
  getAbiItem({ abi: registryAbi, name: 'NewResolver' }),
  getAbiItem({ abi: resolverAbi, name: 'AddrChanged' }),
  getAbiItem({ abi: resolverAbi, name: 'ServerChanged' }),
  getAbiItem({ abi: resolverAbi, name: 'PubkeyChanged' }),
  getAbiItem({ abi: resolverAbi, name: 'ContenthashChanged' }),
  getAbiItem({ abi: resolverAbi, name: 'TextChanged' }),
  getAbiItem({ abi: resolverAbi, name: 'VersionChanged' }),
] as const

/**
 * Looks for events of the registry and of the resolvers from now on, until disposed. What is missed while the chain is
 * away is looked for when it is back. Re-orgs need no care: a change is only a reason to read again.
 */
export function watchNameEvents(
  { client, clock, log }: { client: PublicClient; clock: Clock; log: Log },
  options: WatchOptions,
  onChange: (change: NameChange) => void,
): AsyncDisposable {
  const closing = new AbortController()
  const { signal } = closing
  const pollIntervalMs = options.pollIntervalMs ?? limits.nameWatchIntervalMs

  async function watch(): Promise<void> {
    let seenBlock: bigint | undefined
    let isFailing = false
    while (!signal.aborted) {
      try {
        seenBlock = await look(client, options, seenBlock, onChange, signal)
        if (isFailing) log.info('names_watch_resumed')
        isFailing = false
      } catch (error) {
        if (!isFailing && !signal.aborted)
          log.warn('names_watch_failed', { error: String(error).slice(0, 200) })
        isFailing = true
      }
      await clock.sleep(pollIntervalMs, signal).catch(() => undefined)
    }
  }

  const watching = watch()
  return {
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('The watch on names has ended.'))
      await watching
    },
  }
}

/** @returns the block up to which everything has been seen. */
async function look(
  client: PublicClient,
  { registry, resolvers }: WatchOptions,
  seenBlock: bigint | undefined,
  onChange: (change: NameChange) => void,
  signal: AbortSignal,
): Promise<bigint> {
  const latest = await raceSignal(client.getBlockNumber({ cacheTime: 0 }), signal)
  // The first look finds where now is; a chain that is shorter than before has been started anew.
  if (seenBlock === undefined || latest <= seenBlock) return latest
  const fromBlock = seenBlock + 1n
  const lastBlock = seenBlock + BigInt(limits.logRangeBlocksMax)
  const toBlock = latest < lastBlock ? latest : lastBlock
  // Who emits a thousand events in one block makes one change, too.
  const changes = new Map<string, NameChange>()
  for (const address of pagesOf([registry, ...resolvers])) {
    const logs = await raceSignal(client.getLogs({ address, events, fromBlock, toBlock }), signal)
    for (const log of logs) {
      const change = toChange(log, registry)
      changes.set(change.kind === 'name' ? change.node : change.resolver, change)
    }
  }
  for (const change of changes.values()) onChange(change)
  return toBlock
}

function* pagesOf(addresses: Address[]): Generator<Address[]> {
  for (let start = 0; start < addresses.length; start += limits.logAddressesMax)
    yield addresses.slice(start, start + limits.logAddressesMax)
}

function toChange({ address, topics }: ChainLog, registry: Address): NameChange {
  const emitter = getAddress(address)
  const node = topics[1]
  if (emitter === getAddress(registry) && node) return { kind: 'name', node }
  return { kind: 'resolver', resolver: emitter }
}
