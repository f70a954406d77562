import type { Address, Hex } from 'viem'
import { merkleRootOf } from './merkle.ts'
import { isSignedByKey } from './read-receipt.ts'
import { type Receipt, receiptLeaf } from './receipt.ts'
import type { SignedReceipt } from './signed-receipt.ts'
import { createDelegationChecks } from './swarm/vote.ts'
import type { Market } from './typed-data.ts'

/** A receipt that somebody kept, with what shows whose it is: a signature, or its way to a usage root, or both. */
export interface KeptReceipt {
  readonly receipt: Receipt
  readonly signed: SignedReceipt | undefined
  /** Siblings up to the usage root that a settlement published; undefined where none is shown. */
  readonly proof: readonly Hex[] | undefined
}

export interface EvidenceScope {
  readonly provider: Address
  readonly market: Market
  /** Usage roots that the provider published until the block that counts. */
  readonly roots: ReadonlySet<Hex>
}

/** A receipt that is the provider's without doubt. */
export interface ProvenReceipt {
  readonly receipt: Receipt
  readonly leaf: Hex
  /** Whether a settlement committed to it; else it is signed, and was not settled, or cost nothing. */
  readonly isRooted: boolean
}

export interface CheckedReceipts {
  /** Each call once, in the order of their leaves, however they came. */
  readonly receipts: readonly ProvenReceipt[]
  /** Calls of which the provider said two things; none of both is in `receipts`. */
  readonly contradictions: number
  readonly refused: RefusedReceipts
}

export interface RefusedReceipts {
  /** Of other providers or markets. */
  readonly foreign: number
  /** Neither signed by a key of the provider nor under a root that it published. */
  readonly forged: number
  /** The same once more. */
  readonly duplicate: number
}

/** Parts what a provider said from what it did not. Nobody is asked. */
export async function checkReceipts(
  kept: Iterable<KeptReceipt>,
  scope: EvidenceScope,
): Promise<CheckedReceipts> {
  const proven = new Map<Hex, ProvenReceipt>()
  const isDelegated = createDelegationChecks()
  let [foreign, forged, duplicate] = [0, 0, 0]
  for (const one of kept) {
    if (isForeign(one, scope)) {
      foreign += 1
      continue
    }
    const leaf = receiptLeaf(one.receipt)
    const isRooted = one.proof !== undefined && scope.roots.has(merkleRootOf(leaf, one.proof))
    if (!isRooted && !(await isSigned(one, leaf, isDelegated))) {
      forged += 1
      continue
    }
    const known = proven.get(leaf)
    if (known) duplicate += 1
    proven.set(leaf, { receipt: one.receipt, leaf, isRooted: isRooted || (known?.isRooted ?? false) })
  }
  const byCall = Map.groupBy(proven.values(), ({ receipt }) => receipt.callId)
  const receipts = [...byCall.values()].flatMap((said) => (said.length === 1 ? said : []))
  return {
    receipts: receipts.sort((a, b) => (a.leaf < b.leaf ? -1 : 1)),
    contradictions: byCall.size - receipts.length,
    refused: { foreign, forged, duplicate },
  }
}

function isForeign({ receipt, signed }: KeptReceipt, { provider, market }: EvidenceScope): boolean {
  if (receipt.provider !== provider) return true
  if (!signed) return false
  return signed.market.chainId !== market.chainId || signed.market.escrow !== market.escrow
}

/** As `verifyReceipt`, for very many of few keys. */
async function isSigned(
  { signed }: KeptReceipt,
  leaf: Hex,
  isDelegated: ReturnType<typeof createDelegationChecks>,
): Promise<boolean> {
  // What stands beside the signature must be what it signs.
  if (!signed || receiptLeaf(signed.receipt) !== leaf) return false
  const { key, market, receipt } = signed
  const endedAt = (receipt.startedAt + receipt.durationMs) / 1000
  if (endedAt < key.validAfter || endedAt > key.validBefore) return false
  return isSignedByKey(signed) && (await isDelegated(key, market))
}
