import type { Address, Hex } from 'viem'
import { keccak256, toHex } from '../base/bytes.ts'
import { limits } from '../limits.ts'

/**
 * The block whose hash draws the members while the chain stands at `head`: the last one whose number is a multiple of
 * `swarmSeedBlocks`. Whoever counts the votes could otherwise choose among all the blocks that members still take.
 */
export const seedBlockAt = (head: bigint): bigint => head - (head % BigInt(limits.swarmSeedBlocks))

/** Whether a member whose chain stands at `head` takes this block: its own, or a neighbour's whose chain is ahead or behind. */
export function isSeedBlock(block: bigint, head: bigint): boolean {
  const step = BigInt(limits.swarmSeedBlocks)
  if (block % step !== 0n) return false
  const own = seedBlockAt(head)
  return block === own || block === own - step || block === own + step
}

/** What decides who is drawn. Nothing of the request is in it, so that no caller can look for one that draws its friends. */
export const selectionSeed = (blockHash: Hex, deployment: Hex): Hex =>
  toHex(keccak256(hexBytes(blockHash), hexBytes(deployment)))

/**
 * Draws `count` of the candidates: those with the lowest `keccak256(seed ‖ address)`, in that order. Each has the same chance, and who
 * is drawn does not depend on where in a list anybody stands.
 *
 * @returns all of them where there are no more
 */
export function selectMembers(seed: Hex, candidates: readonly Address[], count: number): Address[] {
  const seedBytes = hexBytes(seed)
  return [...new Set(candidates)]
    .map((address) => ({ address, lot: toHex(keccak256(seedBytes, hexBytes(address))) }))
    .sort((a, b) => (a.lot < b.lot ? -1 : 1))
    .slice(0, count)
    .map(({ address }) => address)
}

/** Names the set of candidates in a vote, whatever their order. */
export function hashCandidates(candidates: readonly Address[]): Hex {
  const sorted = [...new Set(candidates.map((address) => address.toLowerCase()))].sort()
  return toHex(keccak256(Buffer.concat(sorted.map(hexBytes))))
}

const hexBytes = (hex: string) => Buffer.from(hex.slice(2), 'hex')
