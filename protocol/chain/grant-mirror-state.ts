import type { Address, Hash } from 'viem'
import type { Credits } from '../credits.ts'
import type { Grant } from '../grant.ts'
import { limits } from '../limits.ts'
import type { CreditsEvent } from './credits-events.ts'
import type { GrantEvent } from './grant-events.ts'

/** A block up to which the events are in. */
export interface Checkpoint {
  readonly number: bigint
  readonly hash: Hash
}

export interface Touched {
  readonly kind: GrantEvent['kind'] | 'rolled_back'
  readonly payer: Address
  readonly signer: Address
}

/** What the chain said of one provider in a range of blocks, each kind in the order of the chain. */
export interface MirroredEvents {
  readonly grants: readonly GrantEvent[]
  readonly credits: readonly CreditsEvent[]
}

/** Open grants and trial credits at the last checkpoint, and what is needed to go back to an earlier one. */
export interface MirrorState {
  get(payer: Address, signer: Address): Grant | undefined
  all(): Iterable<Grant>
  credits(user: Address): Credits | undefined
  chargedBy(payer: Address, signer: Address): Hash | undefined
  countedBy(user: Address): Hash | undefined
  cursor(): Checkpoint | undefined
  /** The newest first. */
  checkpoints(): readonly Checkpoint[]
  /** Undoes all that came after `to`; undefined undoes everything. */
  rewind(to: Checkpoint | undefined): Touched[]
  /** Takes events in, up to the block `head`. @returns the grants among them */
  apply(events: MirroredEvents, head: Checkpoint): Touched[]
}

interface Undo {
  readonly blockNumber: bigint
  readonly restore: () => void
  /** Left out where it is not about a grant. */
  readonly touched?: Touched
}

export function createMirrorState(): MirrorState {
  const grants = new Map<string, Grant>()
  const credits = new Map<Address, Credits>()
  /** The transactions that collected from each grant, and counted each user's trial calls, at last. */
  const chargedBy = new Map<string, Hash>()
  const countedBy = new Map<Address, Hash>()
  let checkpoints: Checkpoint[] = []
  let undos: Undo[] = []

  /** @returns what puts the entry back as it was */
  function set<K, V>(table: Map<K, V>, key: K, value: V | undefined): () => void {
    const before = table.get(key)
    if (value === undefined) table.delete(key)
    else table.set(key, value)
    return () => void set(table, key, before)
  }

  function forgetAll(): Touched[] {
    const touched = [...grants.values()].map(
      ({ payer, signer }): Touched => ({ kind: 'rolled_back', payer, signer }),
    )
    grants.clear()
    credits.clear()
    chargedBy.clear()
    countedBy.clear()
    checkpoints = []
    undos = []
    return touched
  }

  function applyGrant({ kind, transaction, blockNumber, payer, signer, apply }: GrantEvent): void {
    const key = keyOf(payer, signer)
    if (kind === 'charged') undos.push({ blockNumber, restore: set(chargedBy, key, transaction) })
    const restore = set(grants, key, apply(grants.get(key)))
    undos.push({ blockNumber, restore, touched: { kind: 'rolled_back', payer, signer } })
  }

  function applyCredits({ kind, transaction, blockNumber, credits: now }: CreditsEvent): void {
    if (kind === 'used') undos.push({ blockNumber, restore: set(countedBy, now.user, transaction) })
    undos.push({ blockNumber, restore: set(credits, now.user, now) })
  }

  /** What is older than the oldest checkpoint is never undone alone. */
  function prune(): void {
    checkpoints = checkpoints.slice(0, limits.mirrorCheckpointsMax)
    const oldest = checkpoints.at(-1)
    if (oldest) undos = undos.filter(({ blockNumber }) => blockNumber > oldest.number)
  }

  return {
    get: (payer, signer) => grants.get(keyOf(payer, signer)),
    all: () => grants.values(),
    credits: (user) => credits.get(user),
    chargedBy: (payer, signer) => chargedBy.get(keyOf(payer, signer)),
    countedBy: (user) => countedBy.get(user),
    cursor: () => checkpoints[0],
    checkpoints: () => checkpoints,
    rewind(to) {
      if (!to) return forgetAll()
      const undone = undos.filter(({ blockNumber }) => blockNumber > to.number).reverse()
      for (const { restore } of undone) restore()
      undos = undos.filter(({ blockNumber }) => blockNumber <= to.number)
      checkpoints = checkpoints.filter(({ number }) => number <= to.number)
      return undone.flatMap(({ touched }) => touched ?? [])
    },
    apply(events, head) {
      for (const event of events.grants) applyGrant(event)
      for (const event of events.credits) applyCredits(event)
      checkpoints = [head, ...checkpoints.filter(({ number }) => number < head.number)]
      prune()
      return events.grants.map(({ kind, payer, signer }) => ({ kind, payer, signer }))
    },
  }
}

const keyOf = (payer: Address, signer: Address) => payer + signer
