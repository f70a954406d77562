import type { Hash, PublicClient } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import type { GrantMirror } from '../../protocol/chain/grant-mirror.ts'
import { type CollectionClaim, readClaims } from '../../protocol/chain/read-claims.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import {
  type Collected,
  type CollectedFrom,
  type CollectedProofs,
  higherOf,
  isWithin,
  nothingCollected,
} from '../ledger/collected.ts'
import { isMetered, isTrial } from '../ledger/lanes.ts'

/**
 * Finds the transactions by which this provider collected what its books do not know of. Where there is none to be found, the
 * lane stands still, and the operator decides.
 */
export interface Proofs extends CollectedProofs, AsyncDisposable {
  /** What is said and was not proved, the newest last. */
  disputes(): Dispute[]
  /**
   * The operator has looked, and takes what the chain says of it for true.
   *
   * @param upToUsdc - What it has seen: an RPC server that says more by then is not believed.
   * @throws ProtocolError `not_found` where nothing is in dispute, `chain_disputed` where more is said
   */
  accept(from: CollectedFrom, upToUsdc: Usdc): Dispute
}

export interface Dispute extends CollectedFrom {
  readonly said: Collected
  /** The transaction that the RPC server names for it. */
  readonly transaction: Hash | undefined
}

export interface ProofsDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
  /** The last transaction that is said to have collected from it. */
  readonly transactionOf: (from: CollectedFrom) => Hash | undefined
}

interface Search {
  readonly nextMs: number
  readonly delayMs: number
}

export function createProofs(
  { client, clock, log, transactionOf }: ProofsDeps,
  { provider, market }: { provider: `0x${string}`; market: Market },
): Proofs {
  const closing = new AbortController()
  const proved = new Map<string, Collected>()
  const disputed = createRecent<string, Dispute>(limits.disputesMax)
  const searches = createRecent<string, Search>(limits.disputesMax)
  let looking: Promise<void> = Promise.resolve()
  let waiting = 0

  const find = (from: CollectedFrom) => proved.get(keyOf(from)) ?? nothingCollected

  async function look(from: CollectedFrom, said: Collected): Promise<void> {
    const transaction = transactionOf(from)
    const facts = { payer: from.payer, signer: from.signer, transaction }
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(limits.rpcTimeoutMs)])
    const claims = transaction
      ? await readClaims(client, { ...from, transaction, provider, market }, signal)
      : []
    const claimed = claims
      .filter((claim) => isOf(claim, from))
      .map(({ amountUsdc, calls }): Collected => ({ spentUsdc: amountUsdc, calls }))
      .reduce(higherOf, nothingCollected)
    if (isWithin(said, higherOf(claimed, find(from)))) {
      proved.set(keyOf(from), higherOf(claimed, find(from)))
      disputed.delete(keyOf(from))
      searches.delete(keyOf(from))
      log.info('collection_proved', { ...facts, spent: formatUsdc(said.spentUsdc), calls: said.calls })
      return
    }
    if (!disputed.get(keyOf(from)))
      log.warn('collection_unproved', {
        ...facts,
        said: { spent: formatUsdc(said.spentUsdc), calls: said.calls },
        proved: { spent: formatUsdc(claimed.spentUsdc), calls: claimed.calls },
      })
    disputed.set(keyOf(from), { payer: from.payer, signer: from.signer, said, transaction })
  }

  return {
    find,
    seek({ payer, signer }, said) {
      const from = { payer, signer }
      const before = searches.get(keyOf(from))
      const nowMs = clock.monotonicMs()
      if (closing.signal.aborted || (before && nowMs < before.nextMs) || waiting >= limits.disputesMax) return
      const delayMs = Math.min(
        Math.max(2 * (before?.delayMs ?? 0), limits.proofDelayMsMin),
        limits.proofDelayMsMax,
      )
      searches.set(keyOf(from), { nextMs: nowMs + delayMs, delayMs })
      waiting += 1
      looking = looking
        .then(() => look(from, said))
        .catch((error: unknown) => {
          // That says nothing of the grant, so it is asked again soon.
          searches.set(keyOf(from), { nextMs: clock.monotonicMs() + limits.proofDelayMsMin, delayMs: 0 })
          log.debug('collection_not_looked_at', { payer, error: String(error) })
        })
        .finally(() => {
          waiting -= 1
        })
    },
    disputes: () => [...disputed.values()],
    accept({ payer, signer }, upToUsdc) {
      const key = keyOf({ payer, signer })
      const dispute = disputed.get(key)
      if (!dispute) {
        throw new ProtocolError('not_found', `Nothing is in dispute of ${payer} with this signer.`, {
          hint: 'See "khachapuri provider disputes"; a dispute begins with a call.',
        })
      }
      const { said } = dispute
      if (said.spentUsdc > upToUsdc) {
        throw new ProtocolError(
          'chain_disputed',
          `By now ${formatUsdc(said.spentUsdc)} USDC are said to be collected, and not ${formatUsdc(upToUsdc)}.`,
          { hint: 'Look at the grant in a block explorer, and at the RPC server.' },
        )
      }
      proved.set(key, higherOf(said, find({ payer, signer })))
      disputed.delete(key)
      searches.delete(key)
      log.warn('collection_accepted', {
        payer,
        signer,
        spent: formatUsdc(said.spentUsdc),
        calls: said.calls,
      })
      return dispute
    },
    async [Symbol.asyncDispose]() {
      closing.abort(new Error('The provider stops.'))
      await looking
    },
  }
}

/** Where the mirror has it from that so much was collected. */
export const transactionOf = (
  mirror: Pick<GrantMirror, 'chargedBy' | 'countedBy'>,
  { payer, signer }: CollectedFrom,
): Hash | undefined => (isTrial({ signer }) ? mirror.countedBy(payer) : mirror.chargedBy(payer, signer))

function isOf({ by }: CollectionClaim, from: CollectedFrom): boolean {
  if (by === 'settle') return isMetered(from)
  if (by === 'useCredits') return isTrial(from)
  return by.signer === from.signer
}

const keyOf = ({ payer, signer }: CollectedFrom) => payer + signer
