import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { toProtocolError } from '../../protocol/errors.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import { limits } from '../../protocol/limits.ts'
import { statementPaths } from '../../protocol/statement.ts'
import { signStatementRequest } from '../../protocol/statement-request.ts'
import {
  addressOf,
  chargeCall,
  createTempDir,
  grantOf,
  market,
  openTestLedger,
  provider,
  randomHex,
} from '../../test/support/money.ts'
import { createAccountPages } from './account-pages.ts'

test('a request that was good is good until its end, at one provider, and not a second longer', async () => {
  using dir = createTempDir()
  const clock = createTestClock()
  await using ledger = await openTestLedger(dir.path, clock)
  const account = privateKeyToAccount(randomHex())
  const payer = account.address
  await chargeCall(ledger, { payer: { kind: 'owner', address: payer }, grant: grantOf({ payer }) })
  const pages = createAccountPages(
    { clock, ledger, grants: { grant: () => undefined, credits: () => undefined } },
    { provider, market },
  )
  pages.onError((error) => problemResponse(toProtocolError(error)))
  const validBefore = Math.floor(clock.nowMs() / 1000) + 60
  const sign = (at: typeof provider) =>
    signStatementRequest({ payer, provider: at, validBefore }, account, market)
  const ask = async (token: string) =>
    (await pages.request(statementPaths.lanes, { headers: { authorization: `Bearer ${token}` } })).status
  const good = await sign(provider)
  expect(await ask(good)).toBe(200)
  expect(await ask(await sign(addressOf(9)))).toBe(403)
  await clock.advance(59_000)
  expect(await ask(good)).toBe(200)
  await clock.advance(1_000)
  expect(await ask(good)).toBe(403)
})

test('names that nobody here knows keep no payer from its statement, however many ask', async () => {
  using dir = createTempDir()
  const clock = createTestClock()
  await using ledger = await openTestLedger(dir.path, clock)
  const account = privateKeyToAccount(randomHex())
  await chargeCall(ledger, {
    payer: { kind: 'owner', address: account.address },
    grant: grantOf({ payer: account.address }),
  })
  const pages = createAccountPages(
    { clock, ledger, grants: { grant: () => undefined, credits: () => undefined } },
    { provider, market },
  )
  pages.onError((error) => problemResponse(toProtocolError(error)))
  const validBefore = Math.floor(clock.nowMs() / 1000) + 60
  const ask = async (payer: typeof account.address) => {
    const token = await signStatementRequest({ payer, provider, validBefore }, account, market)
    return pages.request(statementPaths.lanes, { headers: { authorization: `Bearer ${token}` } })
  }
  const strangers = Array.from({ length: 2 * limits.statementRequestFailuresPerSecondMax }, (_, i) =>
    addressOf(0x5000 + i),
  )
  await Promise.all(strangers.map((payer) => ask(payer)))
  const response = await ask(account.address)
  expect(response.status).toBe(200)
  expect(await response.json()).toMatchObject({ entries: [{ charged: '500', calls: 1 }] })
})
