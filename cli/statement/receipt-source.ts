import type { Address, Hex } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { meteredSigner } from '../../protocol/grant.ts'
import { limits } from '../../protocol/limits.ts'
import {
  type ChargedReceipt,
  type LaneTotal,
  type ReceiptProof,
  statementPageSchemas,
  statementPaths,
} from '../../protocol/statement.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import type { ProviderAccount } from '../market/ask-provider.ts'
import { readPages } from './pages.ts'

/** A receipt, and what of its price belongs to what was asked for. */
export interface ReceiptPart {
  readonly charged: ChargedReceipt
  readonly partUsdc: bigint
}

/** Which of a payer's lanes at a provider. */
export interface LaneName {
  readonly signer: Address
  /** Left aside for metered use. */
  readonly epoch: number
}

/** One provider's receipts of one payer, each lane from its first to its last, with one page of each in memory. */
export interface ReceiptSource {
  /**
   * The receipts that took a lane's total from `fromUsdc` to `toUsdc`; to be asked with growing totals. What costs the lane
   * nothing (calls that failed, payments by x402) comes where it was made.
   */
  take(
    lane: LaneName,
    range: { readonly fromUsdc: bigint; readonly toUsdc: bigint },
  ): AsyncGenerator<ReceiptPart>
  /** How a receipt is under a usage root, as the provider shows it; to be asked with growing ids, or the same again. */
  proofOf(lane: LaneName, id: number): Promise<ReceiptProof['shown']>
  /** What no settlement asked for. */
  takeRest(): AsyncGenerator<ReceiptPart & { readonly lane: LaneName }>
}

export function createReceiptSource(
  account: ProviderAccount,
  parties: { readonly payer: Address; readonly provider: Address },
): ReceiptSource {
  let cursors: Promise<Map<string, LaneCursor>> | undefined
  const open = () => {
    cursors ??= openLanes(account, parties)
    return cursors
  }
  return {
    async *take(lane, range) {
      const cursor = (await open()).get(laneKey(lane))
      if (cursor) yield* cursor.take(range)
    },
    async proofOf(lane, id) {
      const cursor = (await open()).get(laneKey(lane))
      return (await cursor?.proofOf(id)) ?? null
    },
    async *takeRest() {
      for (const { lane, takeRest } of (await open()).values()) {
        for await (const part of takeRest()) yield { ...part, lane }
      }
    },
  }
}

const laneKey = ({ signer, epoch }: LaneName) => (signer === meteredSigner ? signer : `${signer}${epoch}`)

interface LaneCursor {
  readonly lane: LaneTotal
  proofOf(id: number): Promise<ReceiptProof['shown']>
  take(range: { readonly fromUsdc: bigint; readonly toUsdc: bigint }): AsyncGenerator<ReceiptPart>
  takeRest(): AsyncGenerator<ReceiptPart>
}

async function openLanes(
  account: ProviderAccount,
  parties: { readonly payer: Address; readonly provider: Address },
): Promise<Map<string, LaneCursor>> {
  const found = new Map<string, LaneCursor>()
  /** Calls that were charged for, on whatever lane. */
  const charged = new Set<bigint>()
  const lanes = readPages<LaneTotal>(
    async (last) =>
      (
        await account.read(
          statementPaths.lanes,
          { after: String(last?.lane ?? 0) },
          statementPageSchemas.lanes,
        )
      ).entries,
    { entriesMax: limits.statementEntriesKeptMax },
  )
  for await (const lane of lanes) {
    const receipts = readPages<ChargedReceipt>(async (last) => {
      const query = { lane: String(lane.lane), after: String(last?.id ?? 0) }
      const { entries } = await account.read(statementPaths.receipts, query, statementPageSchemas.receipts)
      assertReceipts(entries, { ...parties, after: last?.id ?? 0, charged })
      return entries
    })
    const proofs = readPages<ReceiptProof>(async (last) => {
      const query = { lane: String(lane.lane), after: String(last?.id ?? 0) }
      const { entries } = await account.read(statementPaths.proofs, query, statementPageSchemas.proofs)
      assertGrowing(entries, last?.id ?? 0, parties)
      return entries
    })
    found.set(laneKey(lane), createCursor(lane, receipts, proofs))
  }
  return found
}

/**
 * What a provider shows must be of this account, and go on: else it could be walked for ever. And it must show each call
 * once: a receipt is under the root of its settlement whichever charge it is shown for.
 */
function assertReceipts(
  entries: readonly ChargedReceipt[],
  { payer, provider, after, charged }: ReceiptFacts,
): void {
  let last = after
  for (const { id, receipt } of entries) {
    const { callId, priceUsdc } = receipt
    if (receipt.payer !== payer || receipt.provider !== provider || id <= last)
      throw invalidReceipts(`${provider} shows receipts that are not of this account.`)
    last = id
    if (priceUsdc === zeroUsdc) continue
    const key = shortId(callId)
    if (charged.has(key)) throw invalidReceipts(`${provider} shows the receipt of call ${callId} twice.`)
    if (charged.size === limits.statementCallsMax)
      throw invalidReceipts(`${provider} shows more than ${limits.statementCallsMax} calls of this account.`)
    charged.add(key)
  }
}

interface ReceiptFacts {
  readonly payer: Address
  readonly provider: Address
  readonly after: number
  readonly charged: Set<bigint>
}

/** Of ids that nobody guesses, eight bytes tell as many calls apart as are remembered, in a third of the memory. */
const shortId = (callId: Hex): bigint => BigInt(`0x${callId.slice(-16)}`)

const invalidReceipts = (message: string) =>
  new ProtocolError('provider_answer_invalid', message, {
    hint: 'Ask its operator; until then believe the chain ("--chain-only").',
  })

/** A page that begins again at its start would be read for ever. */
function assertGrowing(
  entries: readonly ReceiptProof[],
  after: number,
  { provider }: { readonly provider: Address },
): void {
  if (entries.every(({ id }, index) => id > (entries[index - 1]?.id ?? after))) return
  throw new ProtocolError('provider_answer_invalid', `${provider} shows proofs that do not go on.`, {
    hint: 'Ask its operator which version it runs.',
  })
}

function createCursor(
  lane: LaneTotal,
  receipts: AsyncGenerator<ChargedReceipt>,
  proofs: AsyncGenerator<ReceiptProof>,
): LaneCursor {
  let proof: ReceiptProof | undefined
  /** Read, and not given away whole. */
  let next: ChargedReceipt | undefined
  let givenUsdc = 0n
  const peek = async () => {
    if (next === undefined) {
      next = (await receipts.next()).value as ChargedReceipt | undefined
      givenUsdc = 0n
    }
    return next
  }
  const costs = ({ receipt, payment }: ChargedReceipt) => (payment ? 0n : receipt.priceUsdc)

  return {
    lane,
    async proofOf(id) {
      while (proof === undefined || proof.id < id) {
        const { done, value } = await proofs.next()
        if (done) return null
        proof = value
      }
      return proof.id === id ? proof.shown : null
    },
    async *take({ fromUsdc, toUsdc }) {
      for (;;) {
        const charged = await peek()
        if (!charged) return
        const price = costs(charged)
        const end: bigint = charged.chargedUsdc
        const start = end - price
        if (start >= toUsdc) return
        const partUsdc = smaller(end, toUsdc) - larger(start, fromUsdc)
        if (price === 0n || partUsdc > 0n) yield { charged, partUsdc: price === 0n ? 0n : partUsdc }
        givenUsdc += partUsdc
        if (price > 0n && end > toUsdc) return
        next = undefined
      }
    },
    async *takeRest() {
      for (;;) {
        const charged = await peek()
        if (!charged) return
        const price = costs(charged)
        yield { charged, partUsdc: price - smaller(givenUsdc, price) }
        next = undefined
      }
    },
  }
}

const smaller = (a: bigint, b: bigint): bigint => (a < b ? a : b)
const larger = (a: bigint, b: bigint): bigint => (a > b ? a : b)
