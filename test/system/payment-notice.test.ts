import { afterAll, beforeAll, expect, test } from 'vitest'
import { callHeaders } from '../../protocol/call.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** A provider says how long it needs to settle, and serves on no grant that leaves it less. */

let at: TestMarket
beforeAll(async () => {
  at = await openMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

test('a grant with a shorter notice than its provider needs pays for nothing; lengthened, it pays', async () => {
  const patient = await at.startProvider('patient', { noticeHours: 72 })
  const { account, privateKey } = await at.createPayer({
    name: 'hasty',
    grants: [{ provider: patient.address, priceUsdc: parseUsdc('0.001'), budgetUsdc: parseUsdc('1') }],
  })
  const { cid } = await at.deploy(echoProgram, '--provider', 'patient', '--payer', 'caller')
  const pass = await at.pass({ payer: account.address, providers: [patient.address] }, account)
  const call = () => at.call({ provider: 'patient', cid, pass, path: '/answer' })
  const costs = await at.costsOf(async () => {
    const answer = await call()
    expect(answer.problem()).toMatchObject({
      status: 402,
      code: 'notice_too_short',
      noticeHours: 48,
      noticeHoursMin: 72,
      hint: expect.stringContaining('--notice 72h'),
    })
    expect(answer.header(callHeaders.call)).toBeUndefined()
  })
  expect(costs).toEqual(nothing)

  const line = ['approve', 'patient', '--price', '0.001', '--budget', '1', '--notice', '72h', '--yes']
  const { exitCode, stderr } = await at.user.run(line, { env: { KHACHAPURI_PRIVATE_KEY: privateKey } })
  expect([exitCode, stderr]).toEqual([0, expect.anything()])
  await at.syncGrants()
  const paid = await at.costsOf(async () => {
    expect((await call()).status).toBe(200)
  })
  expect(paid).toEqual({ paid: { hasty: 500n }, earned: { patient: 500n } })
})
