import type { Address, Hash } from 'viem'
import type { Grant } from '../grant.ts'
import { limits } from '../limits.ts'
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

/** The open grants at the last checkpoint, and what is needed to go back to an earlier one. */
export interface MirrorState {
  get(payer: Address, signer: Address): Grant | undefined
  all(): Iterable<Grant>
  cursor(): Checkpoint | undefined
  /** The newest first. */
  checkpoints(): readonly Checkpoint[]
  /** Undoes all that came after `to`; undefined undoes everything. */
  rewind(to: Checkpoint | undefined): Touched[]
  /** Takes events in, in the order of the chain, up to the block `head`. */
  apply(events: readonly GrantEvent[], head: Checkpoint): Touched[]
}

interface Undo {
  readonly blockNumber: bigint
  readonly payer: Address
  readonly signer: Address
  readonly before: Grant | undefined
}

export function createMirrorState(): MirrorState {
  let grants = new Map<string, Grant>()
  let checkpoints: Checkpoint[] = []
  let undos: Undo[] = []

  function set({ payer, signer }: { payer: Address; signer: Address }, grant: Grant | undefined): void {
    if (grant) grants.set(keyOf(payer, signer), grant)
    else grants.delete(keyOf(payer, signer))
  }

  function forgetAll(): Touched[] {
    const touched = [...grants.values()].map(
      ({ payer, signer }): Touched => ({ kind: 'rolled_back', payer, signer }),
    )
    grants = new Map()
    checkpoints = []
    undos = []
    return touched
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
    cursor: () => checkpoints[0],
    checkpoints: () => checkpoints,
    rewind(to) {
      if (!to) return forgetAll()
      const undone = undos.filter(({ blockNumber }) => blockNumber > to.number).reverse()
      for (const undo of undone) set(undo, undo.before)
      undos = undos.filter(({ blockNumber }) => blockNumber <= to.number)
      checkpoints = checkpoints.filter(({ number }) => number <= to.number)
      return undone.map(({ payer, signer }) => ({ kind: 'rolled_back', payer, signer }))
    },
    apply(events, head) {
      for (const event of events) {
        const { blockNumber, payer, signer } = event
        const before = grants.get(keyOf(payer, signer))
        undos.push({ blockNumber, payer, signer, before })
        set(event, event.apply(before))
      }
      checkpoints = [head, ...checkpoints.filter(({ number }) => number < head.number)]
      prune()
      return events.map(({ kind, payer, signer }) => ({ kind, payer, signer }))
    },
  }
}

const keyOf = (payer: Address, signer: Address) => payer + signer
