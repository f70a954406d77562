import fc from 'fast-check'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { keccak256, toHex, utf8 } from '../base/bytes.ts'
import { limits } from '../limits.ts'
import { hashCandidates, isSeedBlock, seedBlockAt, selectionSeed, selectMembers } from './select-members.ts'

const hashOf = (text: string) => toHex(keccak256(utf8.encode(text)))
const addressAt = (index: number) => getAddress(hashOf(`provider ${index}`).slice(0, 42))
const tenProviders = Array.from({ length: 10 }, (_, index) => addressAt(index))
const deployment = hashOf('deployment')

const candidateLists = fc
  .uniqueArray(fc.nat(1_000), { minLength: 1, maxLength: 16 })
  .map((numbers) => numbers.map(addressAt))

test('members are distinct candidates, and the same ones whoever draws, from a list in whatever order', () => {
  fc.assert(
    fc.property(candidateLists, fc.string(), fc.nat(16), (candidates, text, count) => {
      const seed = selectionSeed(hashOf(text), deployment)
      const drawn = selectMembers(seed, candidates, count)
      expect(drawn).toHaveLength(Math.min(count, candidates.length))
      expect(new Set(drawn).size).toBe(drawn.length)
      for (const address of drawn) expect(candidates).toContain(address)
      const doubled = [...candidates, ...candidates].reverse()
      expect(selectMembers(seed, doubled, count)).toEqual(drawn)
      expect(hashCandidates(doubled)).toBe(hashCandidates(candidates))
    }),
  )
})

test('3 000 draws with a fixed list of seeds: each provider within 10 % of the mean', () => {
  const drawn = new Map<string, number>()
  for (let i = 0; i < 3_000; i += 1)
    for (const address of selectMembers(selectionSeed(hashOf(`block ${i}`), deployment), tenProviders, 3))
      drawn.set(address, (drawn.get(address) ?? 0) + 1)
  expect(drawn.size).toBe(10)
  for (const count of drawn.values()) {
    expect(count).toBeGreaterThanOrEqual(810)
    expect(count).toBeLessThanOrEqual(990)
  }
})

test('another set of candidates has another name', () => {
  expect(hashCandidates(tenProviders.slice(1))).not.toBe(hashCandidates(tenProviders))
})

test('whoever counts the votes has one block to draw with, or that of a member whose chain is a little elsewhere', () => {
  const step = BigInt(limits.swarmSeedBlocks)
  fc.assert(
    fc.property(
      fc.bigInt({ min: 200n, max: 10n ** 12n }),
      fc.bigInt({ min: -200n, max: 200n }),
      (head, away) => {
        expect(isSeedBlock(seedBlockAt(head), head)).toBe(true)
        const taken = Array.from({ length: 400 }, (_, i) => head + BigInt(i) - 200n).filter((block) =>
          isSeedBlock(block, head),
        )
        expect(taken.length).toBeLessThanOrEqual(3)
        const isNear = isSeedBlock(seedBlockAt(head + away), head)
        expect(isNear).toBe(isNear && away < 2n * step && away > -2n * step)
      },
    ),
  )
})
