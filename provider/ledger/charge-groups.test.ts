import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { usdc } from '../../protocol/usdc.ts'
import { claimOf, receiptOf } from '../../test/support/money.ts'
import { createChargeGroups } from './charge-groups.ts'
import type { ChargeRecord } from './records.ts'

const receipt = receiptOf(claimOf())
const recordOf = (receiptId: number): ChargeRecord => ({
  ...{ receiptId, accountId: 1, receipt, chargedUsdc: usdc(0n), calls: 0 },
  ...{ pass: undefined, ownerUsage: undefined, key: undefined },
})

function setup() {
  const sent: number[][] = []
  const groups = createChargeGroups((group) => sent.push(group.map((r) => r.receiptId)))
  const committed = () => groups.committed(sent.at(-1)?.map((id) => `receipt ${id}`) ?? [])
  const durable: number[] = []
  let receiptId = 0
  const append = () => {
    receiptId += 1
    const id = receiptId
    return groups.append(recordOf(id)).then((signed) => {
      expect(signed).toBe(`receipt ${id}`)
      durable.push(id)
    })
  }
  return { sent, groups, committed, durable, append }
}

test('a charge that is alone leaves in the same turn, and its call hears of it when it is on disk, not before', async () => {
  const { sent, groups, committed, durable, append } = setup()
  const appended = append()
  await setImmediate()
  expect([sent, durable, groups.isIdle]).toEqual([[[1]], [], false])
  committed()
  await appended
  expect([durable, groups.isIdle]).toEqual([[1], true])
})

test('charges of one turn share a group', async () => {
  const { sent, append } = setup()
  for (let index = 0; index < 3; index += 1) void append()
  await setImmediate()
  expect(sent).toEqual([[1, 2, 3]])
})

test('one group at a time; what comes meanwhile gathers and leaves with the next', async () => {
  const { sent, committed, append } = setup()
  void append()
  await setImmediate()
  for (let index = 0; index < limits.ledgerGroupRecordsMax + 1; index += 1) void append()
  await setImmediate()
  expect(sent.length).toBe(1)
  committed()
  expect(sent.map((group) => group.length)).toEqual([1, limits.ledgerGroupRecordsMax])
  committed()
  await setImmediate()
  expect(sent.at(-1)).toEqual([limits.ledgerGroupRecordsMax + 2])
})

test('a failure reaches those on their way to the disk and those that gather', async () => {
  const { groups, append, durable } = setup()
  const first = append()
  await setImmediate()
  const second = append()
  groups.rejectAll(new ProtocolError('ledger_unavailable', 'The disk is full.', { hint: 'Free some of it.' }))
  await expect(first).rejects.toMatchObject({ code: 'ledger_unavailable' })
  await expect(second).rejects.toMatchObject({ code: 'ledger_unavailable' })
  expect([durable, groups.isIdle]).toEqual([[], true])
})
