import { expect, test } from 'vitest'
import { createMerkleTree } from '../../protocol/merkle.ts'
import { shownRootSchema } from '../../protocol/published-root.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import { usdc } from '../../protocol/usdc.ts'
import { claimOf, randomHex, receiptOf } from '../../test/support/money.ts'
import { judgeRoot } from './published-root.ts'

const transaction = randomHex()

test('a receipt is under the root of its settlement, and under no other; a way that is cut leads nowhere', () => {
  const receipts = Array.from({ length: 5 }, () => receiptOf(claimOf()))
  const tree = createMerkleTree(receipts.map(receiptLeaf))
  const verdictOf = (proof: readonly `0x${string}`[], roots: readonly `0x${string}`[], of = receipts[1]) =>
    judgeRoot(of as (typeof receipts)[0], { state: 'published', transaction, proof }, roots).verdict
  const proof = tree.proof(1)
  expect(verdictOf(proof, [randomHex(), tree.root])).toBe('ok')
  expect(verdictOf(proof.slice(0, -1), [tree.root])).toBe('wrong')
  expect(verdictOf(proof.slice(1), [tree.root])).toBe('wrong')
  expect(verdictOf([...proof, tree.root], [tree.root])).toBe('wrong')
  expect(verdictOf(proof, [tree.root], receipts[2])).toBe('wrong')
  expect(verdictOf(proof, [randomHex()])).toBe('wrong')
  expect(verdictOf(proof, [])).toBe('wrong')
})

test('what was never published is told apart from what costs nothing, and nobody calls free what was charged', () => {
  const paid = receiptOf(claimOf())
  const free = receiptOf(claimOf({ priceUsdc: usdc(0n) }))
  const judge = (receipt: typeof paid, state: 'unpublished' | 'free' | 'x402') => {
    const { verdict, isUnpublished } = judgeRoot(receipt, { state }, [])
    return [verdict, isUnpublished]
  }
  expect(judge(paid, 'unpublished')).toEqual(['open', true])
  expect(judge(paid, 'free')).toEqual(['wrong', false])
  expect(judge(paid, 'x402')).toEqual(['open', false])
  expect(judge(free, 'unpublished')).toEqual(['open', false])
  for (const shown of [
    {},
    { state: 'published' },
    { state: 'lost' },
    { state: 'published', transaction, proof: [1] },
  ])
    expect(shownRootSchema.safeParse(shown).success).toBe(false)
})
