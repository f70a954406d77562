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

test('callers who fail in turn keep nobody from a program whose owner pays for its calls, faults and all', async () => {
  const shared = await at.deploy(echoProgram, '--payer', 'any')
  const terms = { provider: at.dev.providers.alice.address, priceUsdc: parseUsdc('0.001') }
  const callers = Math.ceil(
    limits.unpaidRunsPerDeploymentPerMinuteMax / limits.unpaidRunsPerPayerPerMinuteMax,
  )
  let refusedBy = 0
  for (let i = 0; refusedBy === 0; i += 1) {
    expect(i).toBeLessThan(10 * callers)
    const grants = [{ ...terms, budgetUsdc: parseUsdc('0.01') }]
    const { account } = await at.createPayer({ name: `caller${i}`, grants })
    const pass = await at.pass({ payer: account.address }, account)
    const send = () => at.call({ cid: shared.cid, path: '/throw', pass })
    const answers = await Promise.all(Array.from({ length: limits.unpaidRunsPerPayerPerMinuteMax }, send))
    refusedBy = answers.filter(({ status }) => status === 429).length
  }
  expect((await at.call({ cid: shared.cid })).status).toBe(200)
})
