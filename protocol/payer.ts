import type { Address } from 'viem'
import type { Pass } from './pass.ts'
import type { SignedVoucher } from './voucher.ts'
import type { Payment } from './x402.ts'

/** An account whose grant pays for a call, and how that was proved. A bare header naming an account proves nothing. */
export type GrantPayer =
  | { readonly kind: 'owner'; readonly address: Address }
  | { readonly kind: 'pass'; readonly address: Address; readonly pass: Pass }
  | VoucherPayer

/** An account that pays from the grant of the key that signed the voucher. */
export interface VoucherPayer {
  readonly kind: 'voucher'
  readonly address: Address
  readonly signed: SignedVoucher
}

/** An account that pays with trial calls that the provider gave it, and proved by a pass who it is. */
export interface TrialPayer {
  readonly kind: 'trial'
  readonly address: Address
  readonly pass: Pass
}

/** Whoever pays from what the escrow says of it, and the provider's ledger keeps account of. */
export type LedgerPayer = GrantPayer | TrialPayer

/** An account that pays for one call from its wallet, by an authorization with its signature. */
export interface X402Payer {
  readonly kind: 'x402'
  readonly address: Address
  readonly payment: Payment
}

/** Who pays for a call. */
export type Payer = LedgerPayer | X402Payer
