import fc from 'fast-check'
import { keccak256, toHex } from 'viem'
import { expect, test } from 'vitest'
import { createMerkleTree, emptyRoot, growMerkleTree, verifyMerkleProof } from './merkle.ts'

const leavesOf = (count: number) => Array.from({ length: count }, (_, index) => keccak256(toHex(index)))

test('every leaf is proved, no other one is', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), (count, pick) => {
      const leaves = leavesOf(count)
      const index = pick % count
      const tree = createMerkleTree(leaves)
      const { root } = tree
      const proof = tree.proof(index)
      expect(verifyMerkleProof({ leaf: leaves[index]!, proof, root })).toBe(true)
      expect(verifyMerkleProof({ leaf: keccak256('0xff'), proof, root })).toBe(false)
    }),
  )
})

test('a tree without leaves has the empty root', () => {
  expect(createMerkleTree([]).root).toBe(emptyRoot)
})

test('a tree that grows between other work is the same, and gives way to that work', async () => {
  for (const count of [0, 1, 511, 512, 1_025]) {
    const leaves = leavesOf(count)
    let pauses = 0
    const grown = await growMerkleTree(leaves, async () => {
      pauses += 1
    })
    const tree = createMerkleTree(leaves)
    expect(grown.root).toBe(tree.root)
    for (const index of [0, count >> 1, count - 1]) expect(grown.proof(index)).toEqual(tree.proof(index))
    // At most so many hashes come between two of them.
    expect(pauses).toBeGreaterThanOrEqual(Math.floor(count / 512))
  }
})
