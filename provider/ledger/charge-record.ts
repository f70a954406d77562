import { limits } from '../../protocol/limits.ts'
import type { Lines, OwnerLine, PassLine } from './books.ts'
import type { KeptAnswer } from './keys.ts'
import { isMetered } from './lanes.ts'
import type { ChargeRecord, KeyRecord, OwnerTotal, PassTotal, StoredAnswer } from './records.ts'

/** What the journal is to keep of a call, with the totals of the books after it. */
export function toRecord(
  { account, pass, owner }: Lines,
  { receiptId, receipt, key, payment }: Pick<ChargeRecord, 'receiptId' | 'receipt' | 'key' | 'payment'>,
): ChargeRecord {
  const { chargedUsdc, calls } = account
  return {
    receiptId,
    ...(!isMetered(account) && {
      lane: { payer: account.payer, signer: account.signer, epoch: account.epoch },
    }),
    receipt,
    chargedUsdc,
    calls,
    pass: passTotal(pass),
    ownerUsage: ownerTotal(owner),
    key,
    ...(payment && { payment }),
  }
}

const passTotal = (line: PassLine | undefined): PassTotal | undefined =>
  line && { payer: line.payer, id: line.id, chargedUsdc: line.chargedUsdc, validBefore: line.validBefore }

const ownerTotal = (line: OwnerLine | undefined): OwnerTotal | undefined =>
  line && {
    spec: line.spec,
    day: line.day,
    chargedUsdc: line.chargedUsdc,
    minute: line.minute,
    calls: line.calls,
  }

/** @returns undefined for a call without an `Idempotency-Key`. */
export function keyRecord(kept: KeptAnswer | undefined, storedAtMs: number): KeyRecord | undefined {
  if (!kept) return undefined
  const { key, requestDigest } = kept.key.request
  return { key, requestDigest, storedAtMs, answer: boundAnswer(kept.answer) }
}

/** A copy of the very bytes: what crosses threads takes its whole buffer with it. */
export function boundAnswer(answer: StoredAnswer | undefined): StoredAnswer | undefined {
  if (!answer || answer.body.byteLength > limits.idempotentAnswerBytesMax) return undefined
  return { status: answer.status, rawHeaders: [...answer.rawHeaders], body: new Uint8Array(answer.body) }
}
