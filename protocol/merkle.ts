import type { Hex } from 'viem'
import { keccak256, toHex } from './base/bytes.ts'

/** Root of a tree without leaves. */
export const emptyRoot: Hex = `0x${'00'.repeat(32)}`

/** An inner node: the two hashes in ascending order, as OpenZeppelin's `MerkleProof` wants them. */
function hashPair(a: Hex, b: Hex): Hex {
  const [first, second] = a < b ? [a, b] : [b, a]
  return toHex(keccak256(Buffer.from(first.slice(2) + second.slice(2), 'hex')))
}

/** One level up; an odd node at the end goes up as it is. */
function nextLevel(level: readonly Hex[]): Hex[] {
  const next: Hex[] = []
  for (let i = 0; i < level.length; i += 2) {
    const left = level[i] as Hex
    const right = level[i + 1]
    next.push(right === undefined ? left : hashPair(left, right))
  }
  return next
}

/** The root over `leaves` in their order. */
export function merkleRoot(leaves: readonly Hex[]): Hex {
  let level: readonly Hex[] = leaves
  while (level.length > 1) level = nextLevel(level)
  return level[0] ?? emptyRoot
}

/** The siblings from the leaf at `index` up to the root. */
export const merkleProof = (leaves: readonly Hex[], index: number): Hex[] =>
  createMerkleTree(leaves).proof(index)

/** All of a tree, for who needs more than one of its proofs. */
export interface MerkleTree {
  readonly root: Hex
  /** The siblings from the leaf at `index` up to the root. */
  proof(index: number): Hex[]
}

export function createMerkleTree(leaves: readonly Hex[]): MerkleTree {
  const levels: (readonly Hex[])[] = [leaves]
  for (let level = leaves; level.length > 1; ) {
    level = nextLevel(level)
    levels.push(level)
  }
  return {
    root: levels.at(-1)?.[0] ?? emptyRoot,
    proof: (index) => levels.slice(0, -1).flatMap((level, height) => level[(index >> height) ^ 1] ?? []),
  }
}

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
