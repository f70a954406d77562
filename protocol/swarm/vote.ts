import { getAddress, type Hex } from 'viem'
import { base64url, toHex } from '../base/bytes.ts'
import { createRecent } from '../base/recent.ts'
import { limits } from '../limits.ts'
import { isSignedWith } from '../read-receipt.ts'
import { type DelegatedKey, isDelegated } from '../receipt-key.ts'
import { type Market, marketSeparator } from '../typed-data.ts'
import { type Vote, voteDigests, voteMessage } from './vote-message.ts'

/** A vote with all that it takes to check it without asking anybody. */
export interface SignedVote {
  readonly market: Market
  readonly vote: Vote
  /** The provider's receipt key, for which its account vouches. */
  readonly key: DelegatedKey
  /** As of a receipt: ECDSA over P-256 with SHA-256, `r ‖ s` with the lower `s`, over the 66 bytes of EIP-712. */
  readonly signature: Hex
}

export const votePrefix = 'kvt1'
const voteBytes = voteDigests.length * 32 + 4 + 64 + 20 + 64 + 8 + 65 + 8 + 20
export const voteChars = votePrefix.length + 1 + Math.ceil((voteBytes * 4) / 3)

/**
 * As one word, for a header: `kvt1.` and Base64url of the nine digests in their order, status (2), members, agreeing (1 each),
 * signature (64), and the key as at the end of a receipt: provider (20), x and y (64), validAfter, validBefore (4 each), delegation
 * (65), chainId (8), escrow (20); numbers big-endian.
 */
export function formatVote({ vote, key, market, signature }: SignedVote): string {
  const numbers = Buffer.alloc(4)
  numbers.writeUInt16BE(vote.status)
  numbers.writeUInt8(vote.members, 2)
  numbers.writeUInt8(vote.agreeing, 3)
  const life = Buffer.alloc(8)
  life.writeUInt32BE(key.validAfter)
  life.writeUInt32BE(key.validBefore, 4)
  const chainId = Buffer.alloc(8)
  chainId.writeBigUInt64BE(BigInt(market.chainId))
  const bytes = Buffer.concat([
    ...voteDigests.map((name) => hexBytes(vote[name])),
    numbers,
    hexBytes(signature),
    hexBytes(key.provider),
    hexBytes(key.x),
    hexBytes(key.y),
    life,
    hexBytes(key.delegation),
    chainId,
    hexBytes(market.escrow),
  ])
  return `${votePrefix}.${bytes.toString('base64url')}`
}

/** Takes the word apart; what it says may still be wrong. @returns undefined for anything else. */
export function parseVote(token: string): SignedVote | undefined {
  if (token.length !== voteChars || !token.startsWith(`${votePrefix}.`)) return undefined
  const decoded = base64url.decode(token.slice(votePrefix.length + 1))
  if (!decoded || decoded.byteLength !== voteBytes) return undefined
  const bytes = Buffer.from(decoded.buffer, decoded.byteOffset, decoded.byteLength)
  let at = 0
  const hex = (length: number): Hex => {
    at += length
    return toHex(bytes.subarray(at - length, at))
  }
  const number = (length: number) => Number(BigInt(hex(length)))
  const digests = Object.fromEntries(voteDigests.map((name) => [name, hex(32)])) as Record<
    (typeof voteDigests)[number],
    Hex
  >
  const [status, members, agreeing] = [number(2), number(1), number(1)]
  const signature = hex(64)
  const provider = getAddress(hex(20))
  const [x, y, validAfter, validBefore] = [hex(32), hex(32), number(4), number(4)]
  const delegation = hex(65)
  const [chainId, escrow] = [number(8), getAddress(hex(20))]
  if (!Number.isSafeInteger(chainId)) return undefined
  return {
    market: { chainId, escrow },
    vote: { ...digests, status, members, agreeing },
    key: { provider, x, y, validAfter, validBefore, delegation },
    signature,
  }
}

/** Whether the key signed it. Of the key it says nothing. */
export function isVoteSigned({ market, vote, key, signature }: SignedVote): boolean {
  return isSignedWith(key, voteMessage(vote, key.provider, marketSeparator(market)), signature)
}

/**
 * Whether accounts vouch for keys. A key signs for a month and recovering who vouched takes a millisecond, so what was found out is kept.
 */
export function createDelegationChecks(): (key: DelegatedKey, market: Market) => Promise<boolean> {
  const known = createRecent<string, Promise<boolean>>(limits.swarmKeysKnownMax)
  return (key, market) => {
    const { provider, x, y, validAfter, validBefore, delegation } = key
    const name = [provider, x, y, validAfter, validBefore, delegation, market.chainId, market.escrow].join()
    const found = known.get(name) ?? isDelegated(key, market)
    known.set(name, found)
    return found
  }
}

const hexBytes = (hex: Hex) => Buffer.from(hex.slice(2), 'hex')
