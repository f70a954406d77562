import { type Address, isAddressEqual } from 'viem'
import type { AccountEvent } from '../../protocol/chain/account-events.ts'
import { meteredSigner } from '../../protocol/grant.ts'
import type { ChargedReceipt } from '../../protocol/statement.ts'
import { type Usdc, usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { PayerLane } from '../../provider/ledger/history.ts'
import type { ProviderHistory } from '../operate/provider-history.ts'
import { readPages } from './pages.ts'
import { type CallBooks, type ExplainedAt, isPastReceipts } from './read-statement.ts'
import { callLine, emptyLine, type StatementLine } from './statement-line.ts'

type Collection = Extract<AccountEvent, { kind: 'settled' | 'redeemed' | 'consumed' }>

/**
 * A provider's calls, from its own ledger: those of each row of a settlement, before the line of what it brought in. Every
 * row must be the sum of its receipts, every settlement that of its rows with the usage root that the ledger has, and
 * every payment by x402 in the ledger must have arrived.
 */
export async function createLedgerBooks(history: ProviderHistory): Promise<CallBooks> {
  const { provider } = history.identity
  // Read first: what is paid meanwhile is on the chain and not in here.
  const paymentsUsdc: bigint = await history.sumPayments()
  /** Of each grant: what the chain has paid of it. */
  const spent = new Map<string, Usdc>()
  let rowsUsdc = 0n
  let arrivedUsdc = 0n

  async function* explainRow(event: Collection, at: ExplainedAt): AsyncGenerator<StatementLine> {
    const { payer, signer, transaction, blockNumber: block, usage } = event
    rowsUsdc += usage.paidUsdc
    const toUsdc = usage.spentUsdc
    spent.set(payer + signer, toUsdc)
    const fromUsdc = usdc(toUsdc - usage.paidUsdc)
    const range = { payer, signer, epoch: at.book.epochOf(event), fromUsdc, toUsdc }
    const receipts = readPages<ChargedReceipt>((last) =>
      history.readChargesBetween({ ...range, after: last?.id ?? 0 }),
    )
    let statedUsdc = 0n
    for await (const charged of receipts) {
      const priceUsdc = partOf(charged, range)
      statedUsdc += priceUsdc
      yield callLine(charged, { kind: 'call', with: payer, priceUsdc, transaction, block })
    }
    if (statedUsdc === usage.paidUsdc) return
    if (statedUsdc < usage.paidUsdc && (await isPastReceipts(event, at))) return
    at.differences.add({ what: `receipts for ${payer}`, statedUsdc, chainUsdc: usage.paidUsdc, transaction })
  }

  async function checkSettlement(
    { usageRoot, paidUsdc, transaction }: Extract<AccountEvent, { kind: 'collected' }>,
    { differences }: ExplainedAt,
  ): Promise<void> {
    const statedUsdc = rowsUsdc
    rowsUsdc = 0n
    if (statedUsdc !== paidUsdc)
      differences.add({ what: 'rows of a settlement', statedUsdc, chainUsdc: paidUsdc, transaction })
    if (usageRoot === undefined) return
    const known = await history.findUsageRoot(transaction)
    if (known === usageRoot) return
    const what = known === undefined ? 'a settlement that the ledger does not know' : 'another usage root'
    differences.add({ what, statedUsdc: 0n, chainUsdc: paidUsdc, transaction })
  }

  /** What was charged since, and may still be settled: a voucher's debts end with its epoch. */
  async function* listUnsettled(at: ExplainedAt): AsyncGenerator<StatementLine> {
    const lanes = readPages<PayerLane>((last) => history.readAllLanes(last?.lane ?? 0))
    for await (const { payer, signer, epoch, chargedUsdc: toUsdc } of lanes) {
      const fromUsdc = spent.get(payer + signer) ?? zeroUsdc
      const isOver = signer !== meteredSigner && epoch !== at.book.epochOf({ payer, provider, signer })
      if (isOver || toUsdc <= fromUsdc) continue
      const range = { payer, signer, epoch, fromUsdc, toUsdc }
      const receipts = readPages<ChargedReceipt>((last) =>
        history.readChargesBetween({ ...range, after: last?.id ?? 0 }),
      )
      for await (const charged of receipts) {
        const priceUsdc = partOf(charged, range)
        yield callLine(charged, { kind: 'unsettled', with: payer, priceUsdc, transaction: null })
      }
    }
  }

  return {
    async *explain(event, at) {
      if (event.kind === 'collected') await checkSettlement(event, at)
      else if (event.kind === 'settled' || event.kind === 'redeemed' || event.kind === 'consumed') {
        if (isAddressEqual(event.provider, provider)) yield* explainRow(event, at)
      } else if (event.kind === 'transferred' && isAddressEqual(event.to, provider)) {
        const call = await history.findPaidCall(event.transaction)
        if (call?.payer !== event.from || call.amountUsdc !== event.amountUsdc) return
        arrivedUsdc += event.amountUsdc
        yield {
          ...emptyLine,
          kind: 'x402',
          time: await at.times.timeOf(event.blockNumber),
          with: event.from,
          priceUsdc: event.amountUsdc,
          transaction: event.transaction,
          block: event.blockNumber,
          call: call.callId,
          outcome: 'answered',
        }
      }
    },
    async *finish(at) {
      yield* listUnsettled(at)
      if (arrivedUsdc < paymentsUsdc)
        at.differences.add({ what: 'paid by x402', statedUsdc: paymentsUsdc, chainUsdc: arrivedUsdc })
    },
  }
}

/** What of a receipt's price lies in a range of its lane's totals. */
function partOf(
  { chargedUsdc, receipt }: ChargedReceipt,
  { fromUsdc, toUsdc }: { fromUsdc: Usdc; toUsdc: Usdc },
): bigint {
  const start = chargedUsdc - receipt.priceUsdc
  const end = chargedUsdc < toUsdc ? chargedUsdc : toUsdc
  return end - (start > fromUsdc ? start : fromUsdc)
}

/** Who is called what: nobody has a name here. */
export const asAddress = (address: Address): string => address
