import { unreachable } from '../../protocol/base/assert.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import type { Mismatch, Payment, PaymentVerdict } from '../../protocol/x402.ts'

/** What a caller is told whose x402 payment does not pay. */

const payAgain = 'Sign another payment for the terms in PAYMENT-REQUIRED.'

/** @returns undefined where the payment covers the call. */
export function explainVerdict(verdict: PaymentVerdict): ProtocolError | undefined {
  switch (verdict.kind) {
    case 'covers':
      return undefined
    case 'mismatch':
      return mismatched(verdict)
    case 'not_yet_valid':
      return new ProtocolError('payment_expired', 'The payment is not valid yet.', { hint: payAgain })
    case 'expires_too_soon':
      return new ProtocolError('payment_expired', 'The payment ends before the call could be settled.', {
        hint: payAgain,
        details: { neededUntil: verdict.neededUntil },
      })
    case 'valid_too_long':
      return new ProtocolError('payment_expired', 'The payment is valid for more than a day.', {
        hint: payAgain,
        details: { validUntilMax: verdict.validUntilMax },
      })
    default:
      return unreachable(verdict)
  }
}

export const mismatched = ({ what, found, wanted }: Mismatch) =>
  new ProtocolError('payment_mismatch', `The payment has another ${what} than was asked for.`, {
    hint: payAgain,
    details: { what, found, wanted },
  })

export const notSignedByPayer = () =>
  new ProtocolError('payment_invalid', "The payment's signature is not that of its payer.", {
    hint: 'Sign TransferWithAuthorization for the token, name and version in PAYMENT-REQUIRED, with the key of "from".',
  })

export const walletNotDeployed = () =>
  new ProtocolError(
    'payment_invalid',
    'The payment is signed for a wallet that is not on the chain yet (ERC-6492).',
    {
      hint: 'Deploy the wallet, by any transaction from it, and sign the payment again.',
      details: { reason: 'wallet_not_deployed' },
    },
  )

/** @param neededUsdc - For this call, and for those of the payer that are not settled yet. */
export const walletTooLow = ({ authorization }: Payment, balanceUsdc: Usdc, neededUsdc: Usdc) =>
  new ProtocolError(
    'balance_too_low',
    `${authorization.from} has ${formatUsdc(balanceUsdc)} USDC in its wallet and needs ${formatUsdc(neededUsdc)}.`,
    {
      hint: 'Send USDC to the account that pays. Calls that are not settled yet count.',
      details: {
        payer: authorization.from,
        balance: balanceUsdc.toString(),
        needed: neededUsdc.toString(),
      },
    },
  )

export const refusedByToken = () =>
  new ProtocolError('payment_invalid', 'The token refuses the payment.', {
    hint: 'The account may be blocked, or its signature of a kind that the token does not know.',
  })

export const usedUp = (reason: string) =>
  new ProtocolError('payment_used', 'The payment was used already, and it pays for nothing more.', {
    hint: 'Sign another payment. What a failed call was to be paid with is not taken.',
    details: { reason },
  })

export const otherRequest = () =>
  new ProtocolError('payment_conflict', 'The same payment came with another request.', {
    hint: 'Sign another payment for another request.',
  })

export const answerGone = (callId: string) =>
  new ProtocolError('idempotency_answer_gone', 'The call was made and paid, and its answer was not kept.', {
    hint: 'Its receipt says what became of it. Sign another payment to call again.',
    details: { callId },
  })

/** The program has run, and the payer's money was gone or withdrawn meanwhile. */
export const failed = (reason: string) =>
  new ProtocolError(
    'payment_failed',
    'The chain refused the payment after the call, so there is no answer.',
    {
      hint: 'Nothing was charged. Keep the money in the wallet until the answer is there, and call again.',
      details: { reason },
    },
  )

export const tooManyOpen = () =>
  new ProtocolError('provider_busy', 'Too many x402 payments wait for the chain here.', {
    hint: 'Send it again in a moment, or pay by a pass, which needs no transaction.',
  })

export const tooManyFailures = () =>
  new ProtocolError('too_many_requests', 'Too many payments with a wrong signature arrive here.', {
    hint: 'Send it again in a second.',
  })

export const tooManyLooks = () =>
  new ProtocolError('too_many_requests', 'Too many payments arrive here that no wallet covers.', {
    hint: 'Send it again in a second, or pay by a pass, which needs no look at the chain.',
  })

export const chainTooSlow = () =>
  new ProtocolError('chain_unreachable', 'The chain did not say in time whether the payer has signed.', {
    hint: 'Send it again; if it stays, tell the operator of the provider.',
  })
