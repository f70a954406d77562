import type { Address } from 'viem'
import { type AccountEvent, readAccountEvents } from '../../protocol/chain/account-events.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { readBalance, readGrant } from '../../protocol/chain/escrow.ts'
import { limits } from '../../protocol/limits.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import type { CommandContext } from '../command.ts'
import type { OpenMarket } from '../market/open.ts'
import { type AccountBook, createAccountBook } from './account-book.ts'
import { type BlockTimes, createBlockTimes } from './block-times.ts'
import { createDifferences, type Differences } from './differences.ts'
import { emptyLine, type LineKind, type StatementLine } from './statement-line.ts'

/** Where the calls behind the lines of the chain come from. */
export interface CallBooks {
  /** The lines of the calls that an event of the chain paid for; what is missing is a difference. */
  explain(event: AccountEvent, at: ExplainedAt): AsyncGenerator<StatementLine>
  /** What no event paid for yet, and what else the books must say. */
  finish(at: ExplainedAt): AsyncGenerator<StatementLine>
}

export interface ExplainedAt {
  readonly book: AccountBook
  readonly differences: Differences
  readonly times: BlockTimes
  /** Up to this block. */
  readonly newest: bigint
}

/**
 * Whether an event is so old that receipts of its calls need not be kept any more: their age counts from the call, and
 * a call is settled within the longest notice, but for old debts.
 */
export async function isPastReceipts(
  { blockNumber }: { readonly blockNumber: bigint },
  { times, newest }: ExplainedAt,
): Promise<boolean> {
  const keptSeconds = limits.receiptAgeMsMax / 1000 - noticeSecondsMax
  return (await times.timeOf(blockNumber)) < (await times.timeOf(newest)) - keptSeconds
}

const noticeSecondsMax = 255 * 3_600

export interface StatementScope {
  readonly account: Address
  readonly withIncome: boolean
  /** The block of the escrow's deployment, or any before the account's first deposit. */
  readonly fromBlock: bigint
  /** Lines before it are added up and not shown. Seconds since 1970. */
  readonly sinceSeconds: number | undefined
  /** Whether a line with this party is shown. */
  readonly isShown: (party: Address | undefined) => boolean
  /** How a party is called. */
  readonly nameOf: (party: Address) => string
}

/** What a statement comes to, of the lines that were shown. */
export interface StatementSums {
  readonly blockNumber: bigint
  readonly freeUsdc: bigint
  readonly reservedUsdc: bigint
  readonly depositedUsdc: bigint
  readonly withdrawnUsdc: bigint
  /** Collected from the account's grants. */
  readonly spentUsdc: bigint
  /** Collected by the account, as a provider. */
  readonly earnedUsdc: bigint
  readonly x402Usdc: bigint
  readonly calls: number
  readonly unsettledUsdc: bigint
}

/**
 * Reads an account's statement line by line, and compares all that is added up with the chain as it is at one block.
 *
 * @returns the sums; what differs is in `differences`
 * @throws ProtocolError `chain_unreachable`, and what the books of providers refuse
 */
export async function* readStatement(
  { market, client }: OpenMarket,
  scope: StatementScope,
  { books, differences = createDifferences() }: { books: CallBooks | undefined; differences?: Differences },
  { signal }: Pick<CommandContext, 'signal'>,
): AsyncGenerator<StatementLine, StatementSums> {
  const { escrow, usdc: token } = market.contracts
  const { account } = scope
  const newest = await reachChain(client.getBlockNumber({ cacheTime: 0 }), 'read the newest block', signal)
  const times = createBlockTimes(client, signal)
  const sinceBlock =
    scope.sinceSeconds === undefined ? undefined : await times.findFirst(scope.sinceSeconds, newest)
  const book = createAccountBook(account)
  const at: ExplainedAt = { book, differences, times, newest }
  const sums = createSums()
  const isSince = ({ time }: StatementLine) => scope.sinceSeconds === undefined || time >= scope.sinceSeconds
  let hasOpened = sinceBlock === undefined

  function* open(): Generator<StatementLine> {
    if (hasOpened || scope.sinceSeconds === undefined) return
    hasOpened = true
    const { freeUsdc, reservedUsdc } = book
    yield { ...emptyLine, kind: 'opening', time: scope.sinceSeconds, freeUsdc, reservedUsdc }
  }

  const eventScope = { escrow, token, account, withIncome: scope.withIncome }
  const range = { fromBlock: scope.fromBlock, toBlock: newest }
  for await (const event of readAccountEvents(client, eventScope, range, signal)) {
    const isLater = sinceBlock === undefined || event.blockNumber >= sinceBlock
    if (isLater) yield* open()
    const { amountUsdc, differences: found } = book.apply(event)
    differences.add(...found)
    const party = partyOf(event, account)
    const isShown = isLater && scope.isShown(party)
    const kind = kindOf(event, account)
    if (isShown && kind) {
      const line: StatementLine = {
        ...emptyLine,
        kind,
        time: await times.timeOf(event.blockNumber),
        with: party === undefined ? null : scope.nameOf(party),
        amountUsdc,
        freeUsdc: book.freeUsdc,
        reservedUsdc: book.reservedUsdc,
        transaction: event.transaction,
        block: event.blockNumber,
        signer: signerOf(event),
      }
      sums.add(line)
      yield line
    }
    if (!books) continue
    for await (const line of books.explain(event, at)) {
      if (!isShown || (line.kind === 'x402' && !isSince(line))) continue
      sums.add(line)
      yield line
    }
  }
  yield* open()
  if (books) {
    for await (const line of books.finish(at)) {
      if (!isSince(line)) continue
      sums.add(line)
      yield line
    }
  }

  const balance = await readBalance(client, { escrow, account, blockNumber: newest }, signal)
  differences.compare('free', book.freeUsdc, balance)
  for (const grant of book.grants()) {
    const onChain = await readGrant(client, escrow, { ...grant, blockNumber: newest }, signal)
    const who = scope.nameOf(grant.provider)
    differences.compare(`reserved for ${who}`, grant.budgetUsdc, onChain?.budgetUsdc ?? zeroUsdc)
    if (onChain) differences.compare(`spent at ${who}`, grant.spentUsdc, onChain.spentUsdc)
  }
  const { freeUsdc, reservedUsdc } = book
  return { blockNumber: newest, freeUsdc, reservedUsdc, ...sums.read() }
}

const kinds: Readonly<Record<Exclude<AccountEvent['kind'], 'transferred'>, LineKind>> = {
  deposited: 'deposit',
  withdrawn: 'withdrawal',
  approved: 'approve',
  revoked: 'revoke',
  reclaimed: 'reclaim',
  settled: 'settlement',
  redeemed: 'redemption',
  consumed: 'consumption',
  collected: 'income',
}

/** @returns undefined for what is no line of its own: rows of a settlement that the account made, and transfers. */
function kindOf(event: AccountEvent, account: Address): LineKind | undefined {
  if (event.kind === 'transferred') return undefined
  if ('payer' in event && event.payer !== account) return undefined
  return kinds[event.kind]
}

function partyOf(event: AccountEvent, account: Address): Address | undefined {
  if (!('payer' in event)) return undefined
  return event.payer === account ? event.provider : event.payer
}

function signerOf(event: AccountEvent): Address | null {
  if (!('signer' in event) || BigInt(event.signer) === 0n) return null
  return event.signer
}

function createSums() {
  const sums = {
    depositedUsdc: 0n,
    withdrawnUsdc: 0n,
    spentUsdc: 0n,
    earnedUsdc: 0n,
    x402Usdc: 0n,
    unsettledUsdc: 0n,
    calls: 0,
  }
  // A call that two settlements paid is one call; its parts follow one another in its lane.
  const counted = new Set<string>()
  return {
    read: () => sums,
    add({ kind, amountUsdc, priceUsdc, call }: StatementLine): void {
      const amount = amountUsdc ?? 0n
      const price = priceUsdc ?? 0n
      if (kind === 'deposit') sums.depositedUsdc += amount
      else if (kind === 'withdrawal') sums.withdrawnUsdc -= amount
      else if (kind === 'income') sums.earnedUsdc += amount
      else if (kind === 'settlement' || kind === 'redemption' || kind === 'consumption')
        sums.spentUsdc -= amount
      else if (kind === 'x402') sums.x402Usdc += price
      else if (kind === 'unsettled') sums.unsettledUsdc += price
      if (call === null || counted.has(call)) return
      sums.calls += 1
      remember(counted, call)
    },
  }
}

const rememberedMax = 1_000

function remember(set: Set<string>, value: string): void {
  set.add(value)
  const oldest = set.size > rememberedMax ? set.values().next().value : undefined
  if (oldest !== undefined) set.delete(oldest)
}
