import type { Receipt } from '../../protocol/receipt.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'
import type { Lane } from './lanes.ts'
import type { ChargeRecord, OwnerTotal, PassTotal } from './records.ts'

/**
 * A group of records on its way to the journal's thread. What every record has goes as rows of one text: to clone objects
 * with their names takes seven times as long, in the thread of the calls, too. What few have is cloned.
 */
export interface GroupWire {
  readonly rows: string
  /** By the record's place in the group; undefined where no record has any. */
  readonly extras: ReadonlyMap<number, Extra> | undefined
}

type Extra = Omit<ChargeRecord, Common>
type Common = 'receiptId' | 'receipt' | 'chargedUsdc' | 'calls' | 'lane' | 'pass' | 'ownerUsage'

export function encodeGroup(group: readonly ChargeRecord[]): GroupWire {
  const extras = new Map<number, Extra>()
  const rows = group.map(
    ({ receiptId, receipt, chargedUsdc, calls, lane, pass, ownerUsage, ...extra }, index) => {
      // Whatever else a record holds, so that none of it is ever left behind.
      if (Object.values(extra).some((value) => value !== undefined)) extras.set(index, extra)
      const totals = [pass ? passRow(pass) : null, ownerUsage ? ownerRow(ownerUsage) : null] as const
      const of = lane ? laneRow(lane) : null
      return [receiptId, chargedUsdc.toString(), calls, receiptRow(receipt), of, ...totals] as const
    },
  )
  return {
    rows: JSON.stringify(rows satisfies readonly RecordRow[]),
    extras: extras.size > 0 ? extras : undefined,
  }
}

export function decodeGroup({ rows, extras }: GroupWire): ChargeRecord[] {
  return (JSON.parse(rows) as RecordRow[]).map(
    ([receiptId, charged, calls, receipt, lane, pass, owner], index) => ({
      receiptId,
      receipt: receiptOf(receipt),
      chargedUsdc: amountOf(charged),
      calls,
      ...(lane && { lane: laneOf(lane) }),
      pass: pass ? passOf(pass) : undefined,
      ownerUsage: owner ? ownerOf(owner) : undefined,
      ...(extras?.get(index) ?? noExtra),
    }),
  )
}

const noExtra: Extra = { key: undefined }

type RecordRow = readonly [
  receiptId: number,
  charged: string,
  calls: number,
  receipt: ReturnType<typeof receiptRow>,
  lane: ReturnType<typeof laneRow> | null,
  pass: ReturnType<typeof passRow> | null,
  owner: ReturnType<typeof ownerRow> | null,
]

const receiptRow = (receipt: Receipt) =>
  [
    receipt.callId,
    receipt.programId,
    receipt.deployment,
    receipt.payer,
    receipt.provider,
    receipt.requestDigest,
    receipt.responseDigest,
    receipt.status,
    receipt.outcome,
    receipt.priceUsdc.toString(),
    receipt.startedAt,
    receipt.durationMs,
  ] as const

const receiptOf = (row: ReturnType<typeof receiptRow>): Receipt => ({
  callId: row[0],
  programId: row[1],
  deployment: row[2],
  payer: row[3],
  provider: row[4],
  requestDigest: row[5],
  responseDigest: row[6],
  status: row[7],
  outcome: row[8],
  priceUsdc: amountOf(row[9]),
  startedAt: row[10],
  durationMs: row[11],
})

const laneRow = ({ payer, signer, epoch }: Lane) => [payer, signer, epoch] as const

const laneOf = ([payer, signer, epoch]: ReturnType<typeof laneRow>): Lane => ({ payer, signer, epoch })

const passRow = ({ payer, id, chargedUsdc, validBefore }: PassTotal) =>
  [payer, id, chargedUsdc.toString(), validBefore] as const

const passOf = ([payer, id, charged, validBefore]: ReturnType<typeof passRow>): PassTotal => ({
  payer,
  id,
  chargedUsdc: amountOf(charged),
  validBefore,
})

const ownerRow = ({ spec, day, chargedUsdc, minute, calls }: OwnerTotal) =>
  [spec, day, chargedUsdc.toString(), minute, calls] as const

const ownerOf = ([spec, day, charged, minute, calls]: ReturnType<typeof ownerRow>): OwnerTotal => ({
  spec,
  day,
  chargedUsdc: amountOf(charged),
  minute,
  calls,
})

const amountOf = (text: string): Usdc => usdc(BigInt(text))
