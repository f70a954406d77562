import type { Hex } from 'viem'
import { keccak256Hex } from './base/bytes.ts'

/** Root of a tree without leaves. */
export const emptyRoot: Hex = `0x${'00'.repeat(32)}`

/** An inner node: the two hashes in ascending order, as OpenZeppelin's `MerkleProof` wants them. */
function hashPair(a: Hex, b: Hex): Hex {
  const [first, second] = a < b ? [a, b] : [b, a]
  return keccak256Hex(Buffer.from(first.slice(2) + second.slice(2), 'hex'))
}

/** A tree over leaves in their order. */
export interface MerkleTree {
  readonly root: Hex
  /** The siblings from the leaf at `index` up to the root. */
  proof(index: number): Hex[]
}

export function createMerkleTree(leaves: readonly Hex[]): MerkleTree {
  const growing = growLevels(leaves)
  let grown = growing.next()
  while (!grown.done) grown = growing.next()
  return treeOf(grown.value)
}

/**
 * The same, a millisecond at a time: a large settlement has a hundred thousand leaves, and its thread has others to serve.
 *
 * @param pause - Lets the others go first.
 */
export async function growMerkleTree(
  leaves: readonly Hex[],
  pause: () => Promise<unknown>,
): Promise<MerkleTree> {
  const growing = growLevels(leaves)
  let grown = growing.next()
  for (; !grown.done; grown = growing.next()) await pause()
  return treeOf(grown.value)
}

/** Of these there are about a millisecond's worth. */
const hashesPerTurn = 256

/** From the leaves to the root; an odd node at the end of a level goes up as it is. Yields now and then. */
function* growLevels(leaves: readonly Hex[]): Generator<void, readonly (readonly Hex[])[]> {
  const levels = [leaves]
  for (let level = leaves; level.length > 1; ) {
    const next: Hex[] = []
    for (let i = 0; i < level.length; i += 2) {
      const left = level[i] as Hex
      const right = level[i + 1]
      next.push(right === undefined ? left : hashPair(left, right))
      if (next.length % hashesPerTurn === 0) yield
    }
    levels.push(next)
    level = next
  }
  return levels
}

const treeOf = (levels: readonly (readonly Hex[])[]): MerkleTree => ({
  root: levels.at(-1)?.[0] ?? emptyRoot,
  proof: (index) => levels.slice(0, -1).flatMap((level, height) => level[(index >> height) ^ 1] ?? []),
})

/** The root to which `proof` leads from `leaf`. */
export const merkleRootOf = (leaf: Hex, proof: readonly Hex[]): Hex => proof.reduce(hashPair, leaf)

/** Whether `proof` leads from `leaf` to `root`. */
export function verifyMerkleProof({
  leaf,
  proof,
  root,
}: {
  leaf: Hex
  proof: readonly Hex[]
  root: Hex
}): boolean {
  return merkleRootOf(leaf, proof) === root
}
