import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import { usdc } from '../../protocol/usdc.ts'
import {
  claimOf,
  createTempDir,
  openTestLedger,
  passOf,
  payer,
  provider,
  randomHex,
  receiptOf,
  reserve,
} from '../../test/support/money.ts'
import { passGraceMs } from './books.ts'

const soon = 2 ** 31

test('what was taken back stays so over a restart, for its payer only', async () => {
  using dir = createTempDir()
  const id = randomHex()
  {
    await using ledger = await openTestLedger(dir.path)
    expect(ledger.revokedPasses.has({ payer, id })).toBe(false)
    await ledger.revokedPasses.revoke({ payer, id, validBefore: soon })
    await ledger.revokedPasses.revoke({ payer, id, validBefore: 5 })
  }
  await using ledger = await openTestLedger(dir.path)
  expect(ledger.revokedPasses.has({ payer, id })).toBe(true)
  expect(ledger.revokedPasses.covers({ payer, id, validBefore: soon })).toBe(true)
  expect(ledger.revokedPasses.covers({ payer, id, validBefore: soon + 1 })).toBe(false)
  expect(ledger.revokedPasses.has({ payer: '0x000000000000000000000000000000000000dEaD', id })).toBe(false)
  expect(await ledger.history.readPasses({ payer, after: undefined })).toEqual([
    { id, spentUsdc: 0n, validBefore: soon, isRevoked: true },
  ])
})

test('nobody is told that a pass is taken back before that is on disk', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const closing = ledger[Symbol.asyncDispose]()
  const revocation = { payer, id: randomHex(), validBefore: soon }
  await expect(ledger.revokedPasses.revoke(revocation)).rejects.toMatchObject({ code: 'ledger_unavailable' })
  await closing
})

test('what was checked before pays no more after: a request may take its time from there to its call', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const pass = passOf()
  const byPass = claimOf({ payer: { kind: 'pass', address: payer, pass } })
  const trial = claimOf({
    payer: { kind: 'trial', address: payer, pass },
    credits: { provider, user: payer, granted: 1, used: 0 },
    priceUsdc: usdc(0n),
  })
  const begun = reserve(ledger, byPass)
  await ledger.revokedPasses.revoke({ payer, id: pass.id, validBefore: pass.validBefore })
  const refused = { kind: 'refused', error: { code: 'pass_revoked' } }
  expect(ledger.reserve(byPass)).toMatchObject(refused)
  expect(ledger.reserve(trial)).toMatchObject(refused)
  // What ran already is paid for.
  await begun.charge(receiptOf(byPass))
  expect(await ledger.history.readPasses({ payer, after: undefined })).toMatchObject([
    { id: pass.id, spentUsdc: byPass.priceUsdc, isRevoked: true },
  ])
})

test('so many are kept for one payer; those that have long ended make room', async () => {
  using dir = createTempDir()
  const clock = createTestClock()
  const endsAt = Math.floor(clock.nowMs() / 1000) + 60
  await using ledger = await openTestLedger(dir.path, clock)
  const ids = Array.from({ length: limits.passRevocationsPerPayerMax }, randomHex)
  await Promise.all(ids.map((id) => ledger.revokedPasses.revoke({ payer, id, validBefore: endsAt })))
  const more = { payer, id: randomHex(), validBefore: soon }
  await expect(ledger.revokedPasses.revoke(more)).rejects.toMatchObject({ code: 'too_many_requests' })
  expect(ledger.revokedPasses.has(more)).toBe(false)
  await clock.advance(60_000 + passGraceMs)
  await ledger.revokedPasses.revoke(more)
  expect(ledger.revokedPasses.has(more)).toBe(true)
}, 20_000)
