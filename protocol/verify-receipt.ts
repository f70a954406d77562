import type { Address, Hex } from 'viem'
import type { CallId } from './call.ts'
import { isSignedByKey } from './read-receipt.ts'
import { isDelegated } from './receipt-key.ts'
import type { SignedReceipt } from './signed-receipt.ts'
import type { Market } from './typed-data.ts'
import { formatUsdc, type Usdc, zeroUsdc } from './usdc.ts'

/** What somebody knows of a call beside its receipt. Whatever is left out is not compared. */
export interface Evidence {
  readonly provider?: Address | undefined
  readonly market?: Market | undefined
  readonly callId?: CallId | undefined
  readonly programId?: Hex | undefined
  /** SHA-256 in the deployment's CID. */
  readonly deployment?: Hex | undefined
  /** See `hashRequest`. */
  readonly requestDigest?: Hex | undefined
  /** SHA-256 of the answer's body. */
  readonly responseDigest?: Hex | undefined
  readonly status?: number | undefined
  /** What the answer said that the call costs. */
  readonly priceUsdc?: Usdc | undefined
}

export interface Check {
  readonly name: CheckName
  /** `open` where there was nothing to compare with. */
  readonly verdict: 'ok' | 'wrong' | 'open'
  /** What the receipt says, or what is the matter. */
  readonly says: string
}

export const checkNames = [
  'signature',
  'key',
  'time',
  'provider',
  'market',
  'call',
  'program',
  'deployment',
  'request',
  'response',
  'status',
  'price',
] as const
export type CheckName = (typeof checkNames)[number]

/** Checks a receipt without asking anybody: its signatures, and whatever the evidence can be compared with. In the order of `checkNames`. */
export async function verifyReceipt(signed: SignedReceipt, evidence: Evidence = {}): Promise<Check[]> {
  const { receipt, key, market, path } = signed
  const check = (name: CheckName, isRight: boolean, says: string, matter: string): Check =>
    isRight ? { name, verdict: 'ok', says } : { name, verdict: 'wrong', says: matter }
  const compare = <T>(name: CheckName, said: T, known: T | undefined, show: (value: T) => string): Check => {
    if (known === undefined) return { name, verdict: 'open', says: show(said) }
    return check(
      name,
      said === known,
      show(said),
      `the receipt says ${show(said)}, and it was ${show(known)}`,
    )
  }
  const plain = String
  const endedAt = (receipt.startedAt + receipt.durationMs) / 1000
  const inTime = endedAt >= key.validAfter && endedAt <= key.validBefore
  return [
    check(
      'signature',
      isSignedByKey(signed),
      path.length === 0
        ? 'by the receipt key'
        : `by the receipt key, in a group of up to ${2 ** path.length}`,
      'the receipt key signed something else',
    ),
    check(
      'key',
      await isDelegated(key, market),
      `${key.provider} vouches for it until ${dateOf(key.validBefore)}`,
      `${key.provider} did not vouch for the receipt key`,
    ),
    check(
      'time',
      inTime,
      dateOf(receipt.startedAt / 1000),
      `the call ended at ${dateOf(endedAt)}, when the receipt key did not hold`,
    ),
    compare('provider', receipt.provider, evidence.provider, plain),
    compare('market', marketName(market), evidence.market && marketName(evidence.market), plain),
    compare('call', receipt.callId, evidence.callId, plain),
    compare('program', receipt.programId, evidence.programId, plain),
    compare('deployment', receipt.deployment, evidence.deployment, plain),
    compare('request', receipt.requestDigest, evidence.requestDigest, plain),
    compare('response', receipt.responseDigest, evidence.responseDigest, plain),
    compare('status', receipt.status, evidence.status, plain),
    // What failed, and a trial call, cost nothing, whatever the price was.
    receipt.priceUsdc === zeroUsdc
      ? { name: 'price', verdict: 'ok', says: 'nothing' }
      : compare('price', receipt.priceUsdc, evidence.priceUsdc, (amount) => `${formatUsdc(amount)} USDC`),
  ]
}

const marketName = ({ chainId, escrow }: Market) => `chain ${chainId}, escrow ${escrow}`

const dateOf = (seconds: number) => {
  const date = new Date(seconds * 1000)
  return Number.isNaN(date.getTime()) ? 'no time at all' : date.toISOString()
}
