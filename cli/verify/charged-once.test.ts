import { expect, test } from 'vitest'
import type { CallAttempt } from '../../protocol/call-attempt.ts'
import { formatAttempt } from '../../protocol/call-attempt.ts'
import { addressOf, claimOf, provider, receiptOf } from '../../test/support/money.ts'
import { judgeCharges } from './charged-once.ts'
import { readKeptAttempts } from './read-attempts.ts'

const ours = receiptOf(claimOf())
const theirs = receiptOf(claimOf(), { provider: addressOf(0xb0) })
const bob = { name: 'bob', address: provider, receipts: [ours] }
const alice = { name: 'alice', address: addressOf(0xb0), receipts: [] }

test('a call that one provider charged, and no other that may have had it, was charged once', () => {
  expect(judgeCharges(ours, [alice, bob], [])).toMatchObject({
    verdict: 'ok',
    says: 'bob alone, of alice, bob',
  })
  for (const [shown, says] of [
    [[{ ...alice, receipts: [theirs] }, bob], theirs.callId],
    [[alice, { ...bob, receipts: [ours, receiptOf(claimOf())] }], 'bob by call'],
    [[alice, { ...bob, receipts: [] }], 'does not show'],
    [[alice], 'none of these'],
  ] as const)
    expect(judgeCharges(ours, shown, [])).toMatchObject({
      verdict: 'wrong',
      says: expect.stringContaining(says),
    })
  // The same call made twice on purpose is told apart by who made it.
  expect(judgeCharges(ours, [{ ...alice, receipts: [theirs] }, bob], [theirs.callId]).verdict).toBe('ok')
})

test('who was asked is read from a head as it was kept', () => {
  const attempts: CallAttempt[] = [
    { name: 'alice', address: addressOf(0xb0), outcome: 'refused', code: 'provider_busy' },
    { name: 'bob', address: provider, outcome: 'answered' },
  ]
  const lines = attempts.map((attempt) => `Khachapuri-Attempt: ${formatAttempt(attempt)}\r\n`).join('')
  const read = (text: string) => readKeptAttempts(Buffer.from(text))
  expect(read(`HTTP/1.1 200 OK\r\n${lines}\r\n`)).toEqual(attempts)
  for (const line of [
    'bob',
    'bob; 0x12; answered',
    `bob; ${provider}; paid`,
    `bob; ${provider}; refused:made_up`,
  ])
    expect(read(`HTTP/1.1 200 OK\r\nKhachapuri-Attempt: ${line}\r\n\r\n`)).toEqual([])
})
