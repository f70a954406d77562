import { type Address, type Hash, type PublicClient, parseEventLogs } from 'viem'
import type { AccountEvent } from '../../protocol/chain/account-events.ts'
import { isChainTrouble } from '../../protocol/chain/chain-error.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { readReceipt } from '../../protocol/chain/transaction-fate.ts'
import { isProtocolError, type ProtocolError } from '../../protocol/errors.ts'
import { meteredSigner } from '../../protocol/grant.ts'
import { merkleRootOf } from '../../protocol/merkle.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import type { ChargedReceipt, ReceiptProof } from '../../protocol/statement.ts'
import { type CallBooks, type ExplainedAt, isPastReceipts } from './read-statement.ts'
import type { LaneName, ReceiptPart, ReceiptSource } from './receipt-source.ts'
import { callLine, type StatementLine } from './statement-line.ts'
import { createUsageRoots } from './usage-roots.ts'

export interface AskedProvider {
  readonly name: string
  readonly source: ReceiptSource
}

/** Who paid whom, by which event of the chain. */
interface Paying {
  readonly provider: Address
  readonly lane: LaneName
  readonly event: Pick<AccountEvent, 'transaction' | 'blockNumber'>
}

export interface ProviderBooksOptions {
  readonly payer: Address
  readonly escrow: Address
  readonly token: Address
  /** By address. Whose books are not here cannot be asked. */
  readonly providers: ReadonlyMap<Address, AskedProvider>
  readonly nameOf: (address: Address) => string
  /** Whether a provider is a matter of this statement. */
  readonly isAsked: (address: Address) => boolean
  /** Hears of a provider that does not show its books, once. */
  readonly onSilent: (name: string, error: ProtocolError) => void
  /** Hears in the end of one that has not shown of so many calls that they are under the usage roots of their settlements. */
  readonly onUnproven: (name: string, calls: number) => void
}

/**
 * A payer's calls, as its providers show them. Every settlement must be the sum of its receipts, and every payment by
 * x402 that of one; whoever shows less, or more, makes a difference.
 */
export function createProviderBooks(
  client: PublicClient,
  options: ProviderBooksOptions,
  signal: AbortSignal,
): CallBooks {
  const { payer, providers, nameOf, isAsked, onSilent } = options
  const silent = new Set<Address>()
  const roots = createUsageRoots(client, options.escrow, signal)
  const showsNoProofs = new Set<Address>()
  const unproven = new Map<Address, number>()
  /** What went to each provider by authorization, on chain and by its receipts. */
  const paid = new Map<Address, { chainUsdc: bigint; statedUsdc: bigint }>()
  const paidTo = (provider: Address) => {
    const sums = paid.get(provider) ?? { chainUsdc: 0n, statedUsdc: 0n }
    paid.set(provider, sums)
    return sums
  }

  /** Lines of what a provider shows; one that says no is as good as one that shows nothing. */
  async function* hear<T>(
    provider: Address,
    shown: (source: ReceiptSource) => AsyncGenerator<T>,
  ): AsyncGenerator<T> {
    const asked = providers.get(provider)
    if (!asked || silent.has(provider)) return
    try {
      yield* shown(asked.source)
    } catch (error) {
      signal.throwIfAborted()
      if (!isProtocolError(error) || isChainTrouble(error)) throw error
      silent.add(provider)
      // It says that it has nothing to show; where the chain says otherwise, that is a difference.
      if (error.code !== 'not_found') onSilent(asked.name, error)
    }
  }

  async function* lineOf(
    { charged, partUsdc }: ReceiptPart,
    at: ExplainedAt,
    paying: { provider: Address; kind: 'call' | 'unsettled'; transaction: Hash | null; block: bigint | null },
  ): AsyncGenerator<StatementLine> {
    const { provider, kind, transaction, block } = paying
    const name = nameOf(provider)
    if (charged.payment && charged.receipt.priceUsdc > 0n) {
      const by = await checkPayment(charged, provider, at)
      yield callLine(charged, {
        kind: by === null ? 'unsettled' : 'x402',
        with: name,
        priceUsdc: charged.receipt.priceUsdc,
        transaction: by,
      })
    } else if (partUsdc > 0n) {
      yield callLine(charged, { kind, with: name, priceUsdc: partUsdc, transaction, block })
    } else {
      yield callLine(charged, { kind: 'call', with: name, priceUsdc: 0n, transaction: null })
    }
  }

  /** The one transfer that a receipt names, found on the chain: this nonce, from this payer, to this provider, this much. */
  async function checkPayment(
    { payment, receipt }: ChargedReceipt,
    provider: Address,
    { differences, newest }: ExplainedAt,
  ): Promise<Hash | null> {
    const hash = payment?.transaction
    if (hash === undefined) return null
    const found = await reachChain(readReceipt(client, hash), 'read a payment', signal)
    if (found && found.blockNumber > newest) return hash
    const logs = (found?.logs ?? []).filter(
      ({ address }) => address.toLowerCase() === options.token.toLowerCase(),
    )
    const isUsed = parseEventLogs({ abi: devUsdcAbi, logs, eventName: 'AuthorizationUsed' }).some(
      ({ args }) => args.authorizer === payer && args.nonce === payment?.nonce,
    )
    const isMoved = parseEventLogs({ abi: devUsdcAbi, logs, eventName: 'Transfer' }).some(
      ({ args }) => args.from === payer && args.to === provider && args.value === receipt.priceUsdc,
    )
    if (isUsed && isMoved) paidTo(provider).statedUsdc += receipt.priceUsdc
    else {
      const what = `x402 to ${nameOf(provider)}, call ${receipt.callId}`
      differences.add({ what, statedUsdc: receipt.priceUsdc, chainUsdc: 0n, transaction: hash })
    }
    return hash
  }

  /** Whether the provider committed to a call on chain when it charged for it: then it cannot show another one later. */
  async function checkInclusion(charged: ChargedReceipt, paying: Paying, at: ExplainedAt): Promise<void> {
    const { provider, lane, event } = paying
    const { transaction, blockNumber } = event
    const shown = await askProof(provider, lane, charged.id)
    if (shown) {
      const published = await roots.rootsOf(provider, shown.transaction, { blockNumber, newest: at.newest })
      if (published.includes(merkleRootOf(receiptLeaf(charged.receipt), shown.proof))) return
      const what = `call ${charged.receipt.callId} is not under the usage root of ${nameOf(provider)}`
      at.differences.add({ what, statedUsdc: charged.receipt.priceUsdc, chainUsdc: 0n, transaction })
    } else if (!(await isPastReceipts(event, at))) {
      unproven.set(provider, (unproven.get(provider) ?? 0) + 1)
    }
  }

  /** Without it the receipts of a provider are worth what they were: it is counted, and asked no more. */
  async function askProof(provider: Address, lane: LaneName, id: number): Promise<ReceiptProof['shown']> {
    const asked = showsNoProofs.has(provider) ? undefined : providers.get(provider)
    try {
      return (await asked?.source.proofOf(lane, id)) ?? null
    } catch (error) {
      signal.throwIfAborted()
      if (!isProtocolError(error) || isChainTrouble(error)) throw error
      showsNoProofs.add(provider)
      return null
    }
  }

  return {
    async *explain(event: AccountEvent, at) {
      if (event.kind === 'transferred') {
        if (event.from === payer && providers.has(event.to)) paidTo(event.to).chainUsdc += event.amountUsdc
        return
      }
      if (event.kind !== 'settled' && event.kind !== 'redeemed' && event.kind !== 'consumed') return
      const { provider, signer, usage, transaction, blockNumber: block } = event
      if (event.payer !== payer || !isAsked(provider)) return
      const { paidUsdc, spentUsdc } = usage
      const lane = { signer, epoch: at.book.epochOf(event) }
      let statedUsdc = 0n
      const range = { fromUsdc: spentUsdc - paidUsdc, toUsdc: spentUsdc }
      for await (const part of hear(provider, (source) => source.take(lane, range))) {
        statedUsdc += part.partUsdc
        if (event.kind !== 'consumed' && part.partUsdc > 0n)
          await checkInclusion(part.charged, { provider, lane, event }, at)
        yield* lineOf(part, at, { provider, kind: 'call', transaction, block })
      }
      if (statedUsdc === paidUsdc) return
      if (statedUsdc < paidUsdc && (await isPastReceipts(event, at))) return
      const what = `receipts of ${nameOf(provider)}`
      at.differences.add({ what, statedUsdc, chainUsdc: paidUsdc, transaction })
    },

    async *finish(at) {
      for (const [provider] of providers) {
        for await (const part of hear(provider, (source) => source.takeRest())) {
          const paying = { provider, kind: 'unsettled', transaction: null, block: null } as const
          // A voucher's debts end with its epoch: nothing can be collected of them any more.
          const { signer, epoch } = part.lane
          const isOver = signer !== meteredSigner && epoch !== at.book.epochOf({ payer, provider, signer })
          yield* lineOf(isOver && !part.charged.payment ? { ...part, partUsdc: 0n } : part, at, paying)
        }
      }
      for (const [provider, calls] of unproven) options.onUnproven(nameOf(provider), calls)
      for (const [provider, { statedUsdc, chainUsdc }] of paid)
        at.differences.compare(`x402 to ${nameOf(provider)}`, statedUsdc, chainUsdc)
    },
  }
}
