import type { Address } from 'viem'
import type { Pass } from './pass.ts'

/** The account whose escrow pays for a call, and how that was proved. A bare header naming an account proves nothing. */
export type Payer =
  | { readonly kind: 'owner'; readonly address: Address }
  | { readonly kind: 'pass'; readonly address: Address; readonly pass: Pass }
