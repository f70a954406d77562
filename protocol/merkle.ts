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
export function merkleProof(leaves: readonly Hex[], index: number): Hex[] {
  const proof: Hex[] = []
  let level: readonly Hex[] = leaves
  let position = index
  while (level.length > 1) {
    const sibling = level[position ^ 1]
    if (sibling !== undefined) proof.push(sibling)
    level = nextLevel(level)
    position >>= 1
  }
  return proof
}

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
  return proof.reduce(hashPair, leaf) === root
}
