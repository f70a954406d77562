import { afterAll, beforeAll, expect, test } from 'vitest'
import { callHeaders } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** Callers who have a program run that always fails, because a fault costs them nothing. */

let at: TestMarket
let cid: string
beforeAll(async () => {
  at = await openMarket()
  cid = (await at.deploy(echoProgram, '--payer', 'caller')).cid
  expect((await at.call({ cid, pass: await at.pass() })).status).toBe(200)
})
afterAll(() => at[Symbol.asyncDispose]())

test('runs that nobody pays for are bounded: then 429 with the time to come back, for this payer and no other', async () => {
  const pass = await at.pass()
  const rawHeaders = ['idempotency-key', 'kept']
  const kept = await at.call({ cid, path: '/instance', pass, rawHeaders })
  const send = () => at.call({ cid, path: '/throw', pass })
  const costs = await at.costsOf(async () => {
    const answers = []
    // More than a minute's worth; the minute that this may take makes room for as many again.
    for (let i = 0; answers.at(-1)?.status !== 429; i += 1) {
      expect(i).toBeLessThan(20 * limits.unpaidRunsPerPayerPerMinuteMax)
      answers.push(...(await Promise.all(Array.from({ length: 20 }, send))))
    }
    const refused = answers.filter(({ status }) => status === 429)
    for (const answer of refused) {
      const problem = answer.problem()
      expect(problem).toMatchObject({ code: 'unpaid_runs_reached', retryable: true })
      expect(answer.header('retry-after')).toBe(String(problem['retryAfterSeconds']))
      expect(answer.header(callHeaders.call)).toBeUndefined()
    }
    const ran = answers.filter(({ status }) => status === 502)
    expect(ran.length).toBeGreaterThanOrEqual(limits.unpaidRunsPerPayerPerMinuteMax)
  })
  expect(costs).toEqual(nothing)

  const again = await at.call({ cid, path: '/instance', pass, rawHeaders })
  expect([again.text, again.header(callHeaders.replayed)]).toEqual([kept.text, 'true'])
  const { account } = await at.createPayer({
    name: 'other',
    grants: [
      {
        provider: at.dev.providers.alice.address,
        priceUsdc: parseUsdc('0.001'),
        budgetUsdc: parseUsdc('0.01'),
      },
    ],
  })
  const others = await at.pass({ payer: account.address }, account)
  expect((await at.call({ cid, pass: others })).status).toBe(200)
})
