import fc from 'fast-check'
import { keccak256, toHex } from 'viem'
import { expect, test } from 'vitest'
import { emptyRoot, merkleProof, merkleRoot, verifyMerkleProof } from './merkle.ts'

const leavesOf = (count: number) => Array.from({ length: count }, (_, index) => keccak256(toHex(index)))

test('every leaf is proved, no other one is', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), fc.nat(), (count, pick) => {
      const leaves = leavesOf(count)
      const index = pick % count
      const root = merkleRoot(leaves)
      const proof = merkleProof(leaves, index)
      expect(verifyMerkleProof({ leaf: leaves[index]!, proof, root })).toBe(true)
      expect(verifyMerkleProof({ leaf: keccak256('0xff'), proof, root })).toBe(false)
    }),
  )
})

test('a tree without leaves has the empty root', () => {
  expect(merkleRoot([])).toBe(emptyRoot)
})
