import { expect, test } from 'vitest'
import { usdc } from '../../protocol/usdc.ts'
import { addressOf, grantOf } from '../../test/support/money.ts'
import { meteredLane } from '../ledger/lanes.ts'
import type { UnsettledAccount } from '../ledger/ledger.ts'
import type { Batch } from '../ledger/records.ts'
import { chooseDue, createAttempts } from './choose-due.ts'
import type { SettledBatch } from './settle-batch.ts'

const account = (number: number, changes: Partial<UnsettledAccount['grant']> = {}): UnsettledAccount => ({
  ...meteredLane(addressOf(number)),
  voucher: undefined,
  grant: grantOf({ payer: addressOf(number), ...changes }),
  amountUsdc: usdc(100n),
  calls: 1,
})

const batchOf = (accounts: readonly UnsettledAccount[]): Batch => ({
  id: 1,
  state: 'mined',
  rows: accounts.map(({ payer, amountUsdc, calls }) => ({ payer, amountUsdc, calls })),
  usageRoot: `0x${'00'.repeat(32)}`,
  receipts: accounts.length,
})

const settledOf = (
  accounts: readonly UnsettledAccount[],
  skipped: readonly UnsettledAccount[],
): SettledBatch => ({
  ...batchOf(accounts),
  hash: '0x',
  blockNumber: 1n,
  gasUsed: 1n,
  paidUsdc: usdc(0n),
  skipped: skipped.map(({ payer }) => payer),
  skippedRows: new Set(skipped.map((account) => accounts.indexOf(account))),
})

test('those whose last moment comes first go first, as many as fit', () => {
  const late = account(1, { expiry: 9_000 })
  const early = account(2, { expiry: 5_000 })
  const shortNotice = account(3, { expiry: 8_000, noticeHours: 1 })
  const due = chooseDue([late, early, shortNotice], { open: [], attempts: createAttempts(), rowsMax: 2 })
  expect(due).toEqual([shortNotice, early])
})

test('what is on its way is not sent again, unless more has come', () => {
  const waiting = account(1)
  const grown = { ...account(2), amountUsdc: usdc(150n) }
  const open = [batchOf([waiting, account(2)])]
  expect(chooseDue([waiting, grown], { open, attempts: createAttempts(), rowsMax: 9 })).toEqual([grown])
})

test('what no grant pays for is not sent again while the rest of it is on its way', () => {
  const cheap = { ...account(1, { priceUsdc: usdc(60n) }), calls: 1 }
  const sent = { ...cheap, amountUsdc: usdc(60n) }
  const voucher = { payer: addressOf(2), provider: addressOf(9), maxAmount: usdc(70n), maxCalls: 1, epoch: 0 }
  const signed = { voucher, signer: addressOf(2), signature: `0x${'00'.repeat(65)}` } as const
  const capped = { ...account(2), signer: addressOf(2), voucher: signed }
  const row = { payer: addressOf(2), amountUsdc: usdc(70n), calls: 1, voucher: signed }
  const open = [batchOf([sent]), { ...batchOf([]), rows: [row] }]
  const choose = (accounts: readonly UnsettledAccount[]) =>
    chooseDue(accounts, { open, attempts: createAttempts(), rowsMax: 9 })
  expect(choose([cheap])).toEqual([])
  expect(choose([capped])).toEqual([])
  expect(choose([{ ...cheap, calls: 2, amountUsdc: usdc(200n) }])).toHaveLength(1)
})

test('a skipped row rests until its grant or its debt is another; a paid one never does', () => {
  const attempts = createAttempts()
  const [skipped, paid] = [account(1), account(2)]
  const choose = (accounts: readonly UnsettledAccount[]) =>
    chooseDue(accounts, { open: [], attempts, rowsMax: 9 })
  attempts.begin([skipped, paid])
  attempts.note(settledOf([skipped, paid], [skipped]))
  expect(choose([skipped, paid])).toEqual([paid])
  expect(choose([{ ...skipped, amountUsdc: usdc(101n) }])).toHaveLength(1)
  expect(choose([{ ...skipped, grant: { ...skipped.grant } }])).toHaveLength(1)
})
