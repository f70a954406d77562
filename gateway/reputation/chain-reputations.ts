import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import type { ReputationReader } from '../../protocol/chain/reputation-reader.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderName } from '../../protocol/name.ts'
import {
  compactFacts,
  computeReputation,
  countPayers,
  type Reputation,
  type ReputationFacts,
} from '../../protocol/reputation.ts'

/** What a gateway has read of one provider: all from `fromBlock` to `toBlock`, both included. */
export interface ReadReputation {
  readonly reputation: Reputation
  readonly fromBlock: bigint
  readonly toBlock: bigint
}

/** What the chain says of the providers that calls could go to, read now and then. Disposal ends the reading. */
export interface ChainReputations extends AsyncDisposable {
  /** These could have had a call just now. */
  want(providers: readonly Pick<ProviderName, 'address' | 'owner'>[]): void
  /** As it was read last; nothing is waited for. */
  of(provider: Address): ReadReputation | undefined
}

export interface ChainReputationsDeps {
  readonly clock: Clock
  readonly log: Log
  /** Absent where the gateway does not read the chain itself: then nothing is known of anybody. */
  readonly reader: ReputationReader | undefined
}

interface Wanted {
  readonly owner: Address
  readonly atMs: number
}

interface Kept extends ReadReputation {
  readonly owner: Address
  readonly facts: ReputationFacts
}

/**
 * Reads on from where it was, a bounded number of blocks and providers at a time: the least lately read first. It begins a bounded number of blocks
 * ago, so a gateway's numbers are lower than those of "khachapuri reputation", for everybody alike.
 */
export function createChainReputations({ clock, log, reader }: ChainReputationsDeps): ChainReputations {
  const wanted = createRecent<Address, Wanted>(limits.routeReputationsMax)
  const kept = createRecent<Address, Kept>(limits.routeReputationsMax)

  async function readOn(
    reader: ReputationReader,
    provider: Address,
    owner: Address,
    newest: bigint,
    signal: AbortSignal,
  ) {
    const old = kept.get(provider)
    // Another owner has other gifts: it is read anew.
    const known = old?.owner === owner ? old : undefined
    const span = BigInt(limits.routeReputationBlocksMax)
    const start = newest > span ? newest - span : 0n
    const fromBlock = known ? known.toBlock + 1n : start
    if (fromBlock > newest) return
    const end = fromBlock + BigInt(limits.routeReputationBlocksAtOnceMax) - 1n
    const toBlock = end < newest ? end : newest
    const read = await reader.read({ provider, owner, fromBlock, toBlock }, signal)
    const facts = boundFacts(compactFacts(known ? joinFacts(known.facts, read) : read))
    const reputation = computeReputation(facts, countPayers(facts))
    kept.set(provider, { owner, facts, reputation, fromBlock: known?.fromBlock ?? fromBlock, toBlock })
  }

  async function readAll(signal: AbortSignal): Promise<void> {
    const sinceMs = clock.monotonicMs() - limits.routeReputationWantedMs
    const due: [Address, Wanted][] = []
    for (const [provider, want] of [...wanted.entries()]) {
      if (want.atMs < sinceMs) wanted.delete(provider)
      else due.push([provider, want])
    }
    if (!reader || due.length === 0) return
    const newest = await reader.newestBlock(signal)
    const readTo = (provider: Address) => kept.get(provider)?.toBlock ?? -1n
    due.sort(([a], [b]) => Number(readTo(a) - readTo(b)))
    for (const [provider, { owner }] of due.slice(0, limits.routeReputationsAtOnceMax)) {
      signal.throwIfAborted()
      await readOn(reader, provider, owner, newest, signal)
    }
  }

  const loop = repeat(
    { clock, onError: (error) => log.warn('reputations_unread', { error: String(error) }) },
    limits.routeReputationIntervalMs,
    readAll,
  )
  return {
    want(providers) {
      const atMs = clock.monotonicMs()
      for (const { address, owner } of providers) wanted.set(address, { owner, atMs })
    },
    of: (provider) => kept.get(provider),
    [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose](),
  }
}

const joinFacts = (one: ReputationFacts, other: ReputationFacts): ReputationFacts => ({
  ...other,
  charges: [...one.charges, ...other.charges],
  ratings: [...one.ratings, ...other.ratings],
  gifts: [...one.gifts, ...other.gifts],
})

/** Of very many payers those who paid most are kept: the others weigh least. */
function boundFacts(facts: ReputationFacts): ReputationFacts {
  const keptMax = limits.routeReputationPayersMax
  if (facts.charges.length <= keptMax && facts.gifts.length <= keptMax && facts.ratings.length <= keptMax)
    return facts
  const charges = [...facts.charges].sort((a, b) => (a.paid < b.paid ? 1 : -1)).slice(0, keptMax)
  const payers = new Set(charges.map(({ payer }) => payer))
  return {
    ...facts,
    charges,
    ratings: facts.ratings.filter(({ payer }) => payers.has(payer)),
    gifts: facts.gifts.filter(({ to }) => payers.has(to)),
  }
}
