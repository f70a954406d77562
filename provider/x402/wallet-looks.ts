import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import type { PaymentToken } from '../../protocol/chain/payment-token.ts'
import { limits } from '../../protocol/limits.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { Payment } from '../../protocol/x402.ts'
import { createFailureBuckets, type ProvenNames } from '../admission/failure-buckets.ts'
import * as refusals from './refusals.ts'

/** Looks at the chain for payers. Keys and signatures cost nothing, so looks that are for nothing are bounded. */
export interface WalletLooks {
  /**
   * Whether the payer has the money and the token would move it: one round of requests where all is well.
   *
   * @param neededUsdc - For this payment, and for those of the payer that no block has yet.
   * @throws ProtocolError `balance_too_low`, `payment_invalid`, `payment_used`, `chain_unreachable`; `too_many_requests`
   * while too many looks are for nothing, for this payer or for all who have not paid yet
   */
  assertMoneyIsThere(payment: Payment, neededUsdc: Usdc, signal: AbortSignal): Promise<void>
}

export interface WalletLooksDeps {
  readonly token: PaymentToken
  readonly clock: Clock
  /** Payers who have paid. */
  readonly proven: Pick<ProvenNames, 'has'>
}

export function createWalletLooks({ token, clock, proven }: WalletLooksDeps): WalletLooks {
  const looks = createFailureBuckets(
    { clock, proven },
    {
      failuresPerNameMax: limits.x402LooksLostPerPayerPerSecondMax,
      failuresPerSecondMax: limits.x402LooksLostPerSecondMax,
    },
  )
  const low = createRecent<Address, { readonly balanceUsdc: Usdc; readonly untilMs: number }>(
    limits.payersWatchedMax,
  )

  /** What was seen a moment ago is not asked again. */
  function assertNotKnownLow(payment: Payment, neededUsdc: Usdc): void {
    const seen = low.get(payment.authorization.from)
    if (!seen || seen.balanceUsdc >= neededUsdc) return
    if (clock.monotonicMs() < seen.untilMs) throw refusals.walletTooLow(payment, seen.balanceUsdc, neededUsdc)
    low.delete(payment.authorization.from)
  }

  async function look(payment: Payment, neededUsdc: Usdc, signal: AbortSignal): Promise<void> {
    const { authorization, signature } = payment
    const { balanceUsdc, wouldPass } = await token.simulate(authorization, signature, signal)
    if (balanceUsdc < neededUsdc) {
      const untilMs = clock.monotonicMs() + limits.x402LowWalletAgeMsMax
      low.set(authorization.from, { balanceUsdc, untilMs })
      throw refusals.walletTooLow(payment, balanceUsdc, neededUsdc)
    }
    if (wouldPass) return
    const { isUsed } = await token.readStanding(authorization, signal)
    throw isUsed ? refusals.usedUp('on_chain') : refusals.refusedByToken()
  }

  return {
    async assertMoneyIsThere(payment, neededUsdc, signal) {
      assertNotKnownLow(payment, neededUsdc)
      using place = await looks.take(payment.authorization.from)
      // Another look may have ended while this one waited.
      assertNotKnownLow(payment, neededUsdc)
      if (!place) throw refusals.tooManyLooks()
      await look(payment, neededUsdc, signal)
      place.giveBack()
    },
  }
}
