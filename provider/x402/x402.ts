import type { Address, PublicClient } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { readPaymentToken } from '../../protocol/chain/payment-token.ts'
import type { TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { limits } from '../../protocol/limits.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { Usdc } from '../../protocol/usdc.ts'
import type { PaymentTerms } from '../../protocol/x402.ts'
import { createProvenNames } from '../admission/failure-buckets.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { PaymentRecord } from '../ledger/records.ts'
import { createExposure } from './exposure.ts'
import { createPaymentDesk, neededSeconds, type PaymentDesk } from './payment-desk.ts'
import { createPaymentReader, type ReadPayment } from './read-payment.ts'
import { settlePayment } from './settle-payment.ts'
import { createSettlements, type SettlementsStatus } from './settlements.ts'
import { createWalletLooks } from './wallet-looks.ts'
import { watchMined } from './watch-mined.ts'

/**
 * The way of paying for callers who have nothing here: one call, one transfer of USDC from a wallet (x402, `exact`). It
 * costs the provider a transaction for each call, and a look at the chain before it: the fallback, not the main rail.
 */
export interface X402 extends AsyncDisposable {
  readonly read: ReadPayment
  readonly desk: PaymentDesk
  /** What a call costs by this way. */
  terms(call: { priceUsdc: Usdc; spec: Pick<DeploymentSpec, 'limits'> }): PaymentTerms
  status(): SettlementsStatus
}

export interface X402Deps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly ledger: Ledger
  readonly sender: TransactionSender
  /** The newest block that is safe: no payment of now can be in it, and no re-org takes it away. */
  readonly blockNumber: () => bigint
}

export interface X402Options {
  readonly provider: Address
  readonly market: Market
  /** How long an answer waits for its payment to be mined. */
  readonly settleWaitMs?: number
  /** How often mined payments are looked for whose block may be safe by now. */
  readonly recheckIntervalMs?: number
}

/**
 * Takes up what an earlier process left unsettled, and takes payments.
 *
 * @returns undefined where the escrow's token cannot be moved by authorizations (EIP-3009)
 * @throws ProtocolError `chain_unreachable`, `ledger_unavailable`
 */
export async function openX402(
  deps: X402Deps,
  {
    provider,
    market,
    settleWaitMs = limits.x402SettleWaitMs,
    recheckIntervalMs = limits.mirrorIntervalMs,
  }: X402Options,
  signal: AbortSignal,
): Promise<X402 | undefined> {
  const { client, clock, log, ledger } = deps
  const token = await readPaymentToken(client, market, signal)
  if (!token) {
    log.warn('x402_off', { reason: 'the token does not know EIP-3009' })
    return undefined
  }
  const exposure = createExposure()
  const proven = createProvenNames()
  const looks = createWalletLooks({ token, clock, proven })
  const settlements = createSettlements(
    {
      clock,
      log,
      ledger,
      async settle(payment, settleSignal) {
        const fate = await settlePayment({ ...deps, token }, payment, settleSignal)
        if (fate.kind === 'paid') proven.set(payment.order.authorization.from, true)
        return fate
      },
    },
    { waitMs: settleWaitMs },
  )
  const resume = (record: PaymentRecord) => {
    const { from, valueUsdc } = record.authorization
    settlements.resume(record, exposure.add(from, valueUsdc).remove)
  }
  for (const record of await ledger.payments.recover()) resume(record)
  const watch = watchMined(
    { clock, log, ledger, token, safeBlock: deps.blockNumber, settleAgain: resume },
    recheckIntervalMs,
  )

  return {
    read: createPaymentReader({ token, clock, proven }, { provider }),
    desk: createPaymentDesk({ ...deps, token, exposure, settlements, looks }),
    terms: ({ priceUsdc, spec }) => ({
      chainId: token.chainId,
      asset: token.token,
      payTo: provider,
      amountUsdc: priceUsdc,
      maxTimeoutSeconds: neededSeconds(spec.limits.timeoutMs) + limits.x402SlackSeconds,
    }),
    status: () => settlements.status(),
    async [Symbol.asyncDispose]() {
      await watch[Symbol.asyncDispose]()
      await settlements[Symbol.asyncDispose]()
    },
  }
}
