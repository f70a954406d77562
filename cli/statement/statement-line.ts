import type { Address, Hash, Hex } from 'viem'
import type { ChargedReceipt } from '../../protocol/statement.ts'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import { formatTime } from '../market/escrow.ts'

export type LineKind =
  | 'opening'
  | 'deposit'
  | 'withdrawal'
  | 'approve'
  | 'revoke'
  | 'reclaim'
  | 'settlement'
  | 'redemption'
  | 'consumption'
  | 'income'
  | 'call'
  | 'unsettled'
  | 'x402'

/**
 * One line of a statement. Lines of the chain have an `amount`; those of calls stand under the settlement that paid them
 * and have a `price`. The prices under a settlement add up to its amount.
 */
export interface StatementLine {
  /** Seconds since 1970. */
  readonly time: number
  readonly kind: LineKind
  /** The other side: a name, or else an address. */
  readonly with: string | null
  /** By how much the account's money in the escrow changed, free and reserved together. */
  readonly amountUsdc: bigint | null
  /** What is free after it, and what is reserved in grants. */
  readonly freeUsdc: bigint | null
  readonly reservedUsdc: bigint | null
  /** Of a call: what of its price the transaction paid. */
  readonly priceUsdc: bigint | null
  /** Null while nothing is on chain. */
  readonly transaction: Hash | null
  readonly block: bigint | null
  readonly call: Hex | null
  /** SHA-256 in the deployment's CID. */
  readonly deployment: Hex | null
  readonly outcome: string | null
  /** Whose vouchers; null for metered use. */
  readonly signer: Address | null
}

export const emptyLine = {
  with: null,
  amountUsdc: null,
  freeUsdc: null,
  reservedUsdc: null,
  priceUsdc: null,
  transaction: null,
  block: null,
  call: null,
  deployment: null,
  outcome: null,
  signer: null,
} as const satisfies Omit<StatementLine, 'time' | 'kind'>

/** The line of a call, or of the part of its price that one settlement paid. */
export function callLine(
  { receipt }: ChargedReceipt,
  rest: Pick<StatementLine, 'kind' | 'with' | 'priceUsdc' | 'transaction'> & {
    readonly block?: bigint | null
  },
): StatementLine {
  return {
    ...emptyLine,
    time: Math.floor(receipt.startedAt / 1000),
    call: receipt.callId,
    deployment: receipt.deployment,
    outcome: receipt.outcome,
    ...rest,
  }
}

const columns = [
  'time',
  'kind',
  'with',
  'amount_usdc',
  'free_usdc',
  'reserved_usdc',
  'price_usdc',
  'transaction',
  'block',
  'call',
  'deployment',
  'outcome',
  'signer',
] as const

export const csvHeader = `${columns.join(',')}\r\n`

/** RFC 4180; amounts are exact decimals of USDC. */
export function formatCsvLine(line: StatementLine): string {
  const cells = [
    formatTime(line.time),
    line.kind,
    line.with,
    amountOf(line.amountUsdc),
    amountOf(line.freeUsdc),
    amountOf(line.reservedUsdc),
    amountOf(line.priceUsdc),
    line.transaction,
    line.block?.toString(),
    line.call,
    line.deployment,
    line.outcome,
    line.signer,
  ]
  return `${cells.map((cell) => quote(cell ?? '')).join(',')}\r\n`
}

/** A line for people; calls are indented under their settlement. */
export function formatTextLine(line: StatementLine): string {
  const { kind, amountUsdc, priceUsdc, freeUsdc, reservedUsdc, transaction, call, outcome } = line
  if (call !== null) {
    const paid = kind === 'call' || transaction === null ? '' : `  ${transaction}`
    return `    ${kind.padEnd(10)} ${call}  ${amountOf(priceUsdc)} USDC  ${outcome}  ${line.with}${paid}\n`
  }
  const change = amountUsdc === null || amountUsdc === 0n ? '' : signed(amountUsdc)
  const parts = [
    formatTime(line.time),
    kind.padEnd(11),
    (line.with ?? '').padEnd(8),
    change.padStart(12),
    `free ${amountOf(freeUsdc)}`,
    `reserved ${amountOf(reservedUsdc)}`,
    transaction ?? '',
  ]
  return `${parts.join('  ').trimEnd()}\n`
}

export const signed = (amount: bigint): string =>
  amount < 0n ? `-${formatUsdc(-amount as Usdc)}` : `+${formatUsdc(amount as Usdc)}`

const amountOf = (amount: bigint | null): string => {
  if (amount === null) return ''
  return amount < 0n ? signed(amount) : formatUsdc(amount as Usdc)
}

/** What a spreadsheet would take for a formula begins with none of these here; quotes are for what names may hold one day. */
const quote = (cell: string) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)
