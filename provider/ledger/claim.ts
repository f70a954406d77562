import type { Hex } from 'viem'
import type { Credits } from '../../protocol/credits.ts'
import type { Grant } from '../../protocol/grant.ts'
import type { OwnerPolicy, PayerChoice } from '../../protocol/owner.ts'
import type { LedgerPayer } from '../../protocol/payer.ts'
import type { Usdc } from '../../protocol/usdc.ts'

/** Who wants to pay for a call, and all that the decision needs to know. */
export interface Claim {
  readonly callId: Hex
  readonly payer: LedgerPayer
  /** The grant as the mirror has it: the payer's metered one, or that of the voucher's signer. */
  readonly grant: Grant | undefined
  /** The trial credits as the mirror has them; only they count where the payer has a trial. */
  readonly credits?: Credits | undefined
  /** SHA-256 in the deployment's CID. */
  readonly deployment: Hex
  /**
   * SHA-256 of what the owner signed. The owner's caps are counted by it: anybody can put the same spec under any number
   * of CIDs, with a space more in its JSON.
   */
  readonly spec: Hex
  readonly priceUsdc: Usdc
  /** The deployment's; needed where the owner pays. */
  readonly policy: OwnerPolicy | undefined
  /** The request's `Origin`. */
  readonly origin: string | undefined
  readonly nowSeconds: number
  /** For how long the chain has not answered; 0 while it does. */
  readonly chainLostSeconds: number
  /** The shortest notice of a grant that the provider serves on. */
  readonly noticeHoursMin: number
  /** Who may be asked to pay for the deployment: what a refusal can suggest. */
  readonly payerChoice: PayerChoice
}
