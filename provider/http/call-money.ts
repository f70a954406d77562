import type { Address, Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { callHeaders } from '../../protocol/call.ts'
import type { Credits } from '../../protocol/credits.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'
import type { LedgerPayer, VoucherPayer } from '../../protocol/payer.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import { formatPaymentResult, type PaymentTerms, x402Headers } from '../../protocol/x402.ts'
import type { Deployment } from '../deployments/deployments.ts'
import type { ClaimedKey } from '../ledger/keys.ts'
import type { Charged, Ledger } from '../ledger/ledger.ts'
import type { StoredAnswer } from '../ledger/records.ts'
import type { HeldPayment } from '../x402/payment-desk.ts'

/** What pays for one call, set aside before its program runs. It ends in one of three ways. */
export interface CallMoney {
  /** The call costs what the receipt says. The answer's last byte waits for it. @throws ProtocolError `ledger_unavailable` */
  charge(receipt: Receipt, kept: KeptCall): Promise<Booked>
  /** The program ran, and it costs nothing; the receipt is kept. @throws ProtocolError `ledger_unavailable` */
  waive(receipt: Receipt): Promise<Booked>
  /** The program did not run. Never fails. */
  release(): void | Promise<void>
}

export interface KeptCall {
  /** Set where the call has a key under which its answer is found again. */
  readonly key: ClaimedKey | undefined
  readonly answer: StoredAnswer | undefined
}

/** What the books have to say to the caller: the receipt in any case. */
export interface Booked {
  /** For the head of the answer, if that is not out yet, or of the refusal. */
  readonly headers: RawHeaders
  /** Goes to the caller instead of the answer. */
  readonly refusal?: ProtocolError
}

export interface GrantClaim {
  readonly callId: Hex
  readonly payer: LedgerPayer
  readonly deployment: Deployment
  readonly priceUsdc: Usdc
  /** The request's `Origin`. */
  readonly origin: string | undefined
  /** How long ago the grants that we know were those of the chain. */
  readonly chainLostSeconds: number
  /** The shortest notice of a grant that the provider serves on. */
  readonly noticeHoursMin: number
}

/** What the chain says of payers, in memory. */
export interface MirroredMoney {
  grant(payer: Address, signer?: Address): Grant | undefined
  credits(user: Address): Credits | undefined
}

export interface GrantMoneyDeps {
  readonly clock: Clock
  readonly grants: MirroredMoney
  readonly ledger: Pick<Ledger, 'reserve' | 'record' | 'vouchers'>
}

/**
 * Makes a voucher durable where it is higher than all before, then takes the price out of what it and its grant have
 * left. @throws ProtocolError why not, with what the next voucher must build on
 */
export async function reserveByVoucher(
  deps: GrantMoneyDeps,
  claim: GrantClaim & { readonly payer: VoucherPayer },
): Promise<CallMoney> {
  const { address, signed } = claim.payer
  const grant = deps.grants.grant(address, signed.signer)
  // A voucher of another epoch is worth nothing, and what is kept are promises that count.
  if (grant?.epoch === signed.voucher.epoch) await deps.ledger.vouchers.accept(signed)
  return reserveGrant(deps, claim)
}

/** Takes the price out of what the payer's grant has left, or one trial call; nothing waits in between. @throws ProtocolError why not */
export function reserveGrant(
  { clock, grants, ledger }: GrantMoneyDeps,
  { callId, payer, deployment, priceUsdc, origin, chainLostSeconds, noticeHoursMin }: GrantClaim,
): CallMoney {
  const result = ledger.reserve({
    callId,
    payer,
    grant:
      payer.kind === 'voucher'
        ? grants.grant(payer.address, payer.signed.signer)
        : grants.grant(payer.address),
    credits: payer.kind === 'trial' ? grants.credits(payer.address) : undefined,
    deployment: deployment.digest,
    spec: deployment.specDigest,
    priceUsdc,
    policy: payer.kind === 'owner' ? deployment.spec.policy : undefined,
    origin,
    nowSeconds: Math.floor(clock.nowMs() / 1000),
    chainLostSeconds,
    noticeHoursMin,
    payerChoice: deployment.spec.payer,
  })
  if (result.kind === 'refused') throw result.error
  const { reservation } = result
  return {
    async charge(receipt, { key, answer }) {
      const { signedReceipt, ...charged } = await reservation.charge(receipt, key && { key, answer })
      return tell(payer, charged, signedReceipt)
    },
    async waive(receipt) {
      reservation.release(receipt.outcome)
      return tell(payer, reservation.charged(), await ledger.record(receipt))
    },
    release: () => reservation.release('not started'),
  }
}

/** Who signs vouchers adds up what it signed for; the totals of a grant are nobody else's affair. */
function tell({ kind }: LedgerPayer, { chargedUsdc, calls }: Charged, signedReceipt: string): Booked {
  const headers = [callHeaders.receipt, signedReceipt]
  if (kind === 'voucher')
    headers.push(callHeaders.spent, chargedUsdc.toString(), callHeaders.calls, String(calls))
  return { headers }
}

/** Makes an x402 payment durable before the program runs. @throws as `HeldPayment.reserve` */
export async function reservePayment(
  held: HeldPayment,
  call: { readonly callId: Hex; readonly terms: PaymentTerms },
  signal: AbortSignal,
): Promise<CallMoney> {
  const payment = await held.reserve(call, signal)
  return {
    async charge(receipt, { key, answer }) {
      const { result, refusal, signedReceipt } = await payment.charge(receipt, {
        key: key && keyOf(key),
        answer,
      })
      const headers = [callHeaders.receipt, signedReceipt, x402Headers.response, formatPaymentResult(result)]
      return refusal ? { headers, refusal } : { headers }
    },
    async waive(receipt) {
      return { headers: [callHeaders.receipt, await payment.waive(receipt)] }
    },
    // A payment that could not be forgotten is released at the next start.
    release: () => payment.cancel().catch(() => undefined),
  }
}

const keyOf = ({ request: { key, requestDigest } }: ClaimedKey) => ({ key, requestDigest })
