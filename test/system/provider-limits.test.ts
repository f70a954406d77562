import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import type { LocalAccount } from 'viem'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callHeaders } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { emptyPolicy } from '../../provider/policy/policy.ts'
import { writePolicy } from '../../provider/policy/policy-file.ts'
import type { Provider } from '../../provider/provider.ts'
import { type CurlAnswer, curl } from '../support/curl.ts'
import { echoProgram, nothing, openMarket, type TestMarket } from '../support/market.ts'

/** What a deployment may use and what a provider gives away, on a real market: each breach has its code, and a refusal costs nothing. */

let at: TestMarket
let payer: LocalAccount
beforeAll(async () => {
  at = await openMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

/** A provider that a new payer has a grant for. */
async function start(name: string, policy = emptyPolicy): Promise<Provider> {
  await writePolicy(join(at.dir, name), policy)
  const provider = await at.startProvider(name)
  const grant = { provider: provider.address, priceUsdc: parseUsdc('0.001'), budgetUsdc: parseUsdc('1') }
  payer = (await at.createPayer({ name: `payer of ${name}`, grants: [grant] })).account
  return provider
}
const deploy = async (provider: string, ...flags: string[]) =>
  (await at.deploy(echoProgram, '--provider', provider, '--payer', 'caller', ...flags)).cid

interface Held {
  readonly path: string
  readonly body: PassThrough
  readonly onData: () => void
}

/** Makes a call that has begun when this resolves, and goes on until it is told to end. */
async function hold(call: (held: Held) => Promise<CurlAnswer>) {
  const body = new PassThrough()
  const begun = Promise.withResolvers<void>()
  const answered = call({ path: '/body', body, onData: begun.resolve })
  body.write('begun ')
  await Promise.race([begun.promise, answered])
  return {
    end(): Promise<CurlAnswer> {
      body.end('and ended')
      return answered
    },
  }
}

describe('concurrency', () => {
  test('of one: a second call waits for the first, and is told so where that takes too long', async () => {
    const { address } = await start('single')
    const cid = await deploy('single', '--concurrency', '1', '--timeout', '60000')
    const pass = await at.pass({ payer: payer.address, providers: [address] }, payer)
    const call = (path: string) => at.call({ provider: 'single', cid, pass, path })
    expect((await call('/answer')).status).toBe(200)
    const both = await Promise.all([call('/wait/300'), call('/wait/300')])
    expect(both.map(({ status }) => status)).toEqual([200, 200])

    const costs = await at.costsOf(async () => {
      const held = await hold((call) => at.call({ provider: 'single', cid, pass, ...call }))
      const refused = await call('/answer')
      expect(refused.problem()).toMatchObject({ status: 503, code: 'concurrency_reached', concurrency: 1 })
      expect(refused.header('retry-after')).toBe(String(limits.busyRetryAfterSeconds))
      expect(refused.header(callHeaders.call)).toBeUndefined()
      expect((await held.end()).status).toBe(200)
    })
    expect(costs.earned).toEqual({ single: 500n })
    const { stdout } = await at.user.run(['logs', cid, '--provider', 'single'])
    expect(stdout).toContain('A call was refused (concurrency_reached)')
  })

  test('what was set is shown, and breaking it has its code', async () => {
    const { address } = await start('strict')
    const cid = await deploy('strict', '--cpu', '200', '--response-bytes', '1000', '--timeout', '9000')
    const shown = (await at.call({ provider: 'strict', path: `/_/d/${cid}` })).json()
    expect(shown['limits']).toEqual({
      timeoutMs: 9000,
      cpuMs: 200,
      memoryMiB: 128,
      concurrency: 512,
      responseBytes: 1000,
      webSocketMs: 300_000,
      egress: 'none',
    })
    const pass = await at.pass({ payer: payer.address, providers: [address] }, payer)
    const costs = await at.costsOf(async () => {
      const spent = await at.call({ provider: 'strict', cid, pass, path: '/loop' })
      expect(spent.problem()).toMatchObject({ status: 502, code: 'program_out_of_cpu', cpuMs: 200 })
      const large = await at.call({ provider: 'strict', cid, pass, path: '/bytes/1001?whole' })
      expect(large.problem()).toMatchObject({ status: 502, code: 'program_output_too_large', bytesMax: 1000 })
      for (const answer of [spent, large]) {
        const receipt = await at.call({
          provider: 'strict',
          path: `/_/receipts/${answer.header(callHeaders.call)}`,
        })
        expect(receipt.json()).toMatchObject({ outcome: answer.problem().code, price: '0' })
      }
    })
    expect(costs).toEqual(nothing)
  })
})

describe('capacity', () => {
  test('is shared: who is idle makes room, who is busy is not disturbed, and what never fits is told so at once', async () => {
    const { address } = await start('small', { ...emptyPolicy, capacityMiB: 200 })
    const [one, two, huge] = [
      await deploy('small', '--timeout', '60000'),
      await deploy('small', '--timeout', '60000'),
      // Published for anybody: for this provider, the command line would refuse it.
      (await at.deploy(echoProgram, '--public', '--payer', 'caller', '--memory', '300')).cid,
    ]
    expect(new Set([one, two, huge]).size).toBe(3)
    const pass = await at.pass({ payer: payer.address, providers: [address] }, payer)
    const call = (cid: string, path: string) => at.call({ provider: 'small', cid, pass, path })
    for (const cid of [one, two, one]) expect((await call(cid, '/answer')).status).toBe(200)
    expect((await call(huge, '/answer')).problem()).toMatchObject({ status: 403, code: 'limits_too_high' })

    const busy = await hold((held) => at.call({ provider: 'small', cid: one, pass, ...held }))
    const refused = await call(two, '/answer')
    expect(refused.problem()).toMatchObject({ status: 503, code: 'provider_busy', retryable: true })
    expect(refused.header('retry-after')).toBe('1')
    // What waits is let in when the program before it is idle.
    const waiting = call(two, '/answer')
    expect((await busy.end()).status).toBe(200)
    expect((await waiting).status).toBe(200)
  })
})

describe('a provider that pauses what fails', () => {
  test('refuses it for a while, says so where anybody looks, and tells its owner', async () => {
    const faults = { faultPercentMax: 50, callsMin: 4, windowSeconds: 60, pauseSeconds: 600 }
    const { address } = await start('picky', { ...emptyPolicy, faults })
    const cid = await deploy('picky')
    const pass = await at.pass({ payer: payer.address, providers: [address] }, payer)
    const call = (path: string) => at.call({ provider: 'picky', cid, pass, path })
    expect((await call('/answer')).status).toBe(200)
    for (const _ of [1, 2, 3]) expect((await call('/throw')).problem().code).toBe('program_crashed')
    const costs = await at.costsOf(async () => {
      const refused = await call('/answer')
      expect(refused.problem()).toMatchObject({ status: 503, code: 'deployment_paused', retryable: true })
      expect(Number(refused.header('retry-after'))).toBeGreaterThan(500)
    })
    expect(costs).toEqual(nothing)
    const shown = (await at.call({ provider: 'picky', path: `/_/d/${cid}` })).json()
    expect(shown['refusal']).toMatchObject({ code: 'deployment_paused' })
    const { stdout } = await at.user.run(['logs', cid, '--provider', 'picky'])
    expect(stdout).toContain('The provider paused the deployment for 600 s: 3 of its last 4 calls failed.')
  })
})

describe('a program that dies again and again', () => {
  test('rests before it is started again: that costs nobody, callers hear when to come back, and its owner and operator why', async () => {
    const { address } = await start('patient', { ...emptyPolicy, restSecondsMax: 300 })
    const cid = await deploy('patient', '--memory', '64')
    const pass = await at.pass({ payer: payer.address, providers: [address] }, payer)
    const call = (path: string) => at.call({ provider: 'patient', cid, pass, path })
    let refused: CurlAnswer
    const costs = await at.costsOf(async () => {
      do refused = await call('/heap')
      while (refused.problem().code === 'program_out_of_memory')
    })
    expect(refused!.problem()).toMatchObject({ status: 503, code: 'program_resting', retryable: true })
    expect(Number(refused!.header('retry-after'))).toBeGreaterThan(0)
    expect(costs).toEqual(nothing)
    const { stdout } = await at.user.run(['logs', cid, '--provider', 'patient'])
    expect(stdout).toContain('It died several times in a short time, so it is not started again for 0.5 s.')
    // Each rest is longer than the one before, so sooner or later it is seen.
    let shown: string
    do {
      await call('/heap')
      shown = (await at.user.run(['provider', 'status', '--dir', join(at.dir, 'patient')])).stdout
    } while (!shown.includes('resting'))
    expect(shown).toMatch(/programs {2}\d+ running, 1 resting after they died/)
  })
})

describe('shutting down', () => {
  test('finishes the calls in flight, and tells others when to come back', async () => {
    const provider = await start('leaver')
    const cid = await deploy('leaver', '--timeout', '60000')
    const pass = await at.pass({ payer: payer.address, providers: [provider.address] }, payer)
    const { port, host } = provider.url!
    const rawHeaders = ['authorization', `Bearer ${pass}`]
    const call = ({ path, ...rest }: Held | { path: string }) =>
      curl({ port: Number(port), host, path: `/${cid}${path}`, rawHeaders, ...rest })
    const running = await hold(call)
    const stopped = provider[Symbol.asyncDispose]()
    const refused = await call({ path: '/answer' })
    expect(refused.problem()).toMatchObject({ status: 503, code: 'provider_stopping', retryable: true })
    expect(refused.header('retry-after')).toBe(String(limits.stoppingRetryAfterSeconds))
    expect(await running.end()).toMatchObject({ status: 200, text: 'begun and ended' })
    await stopped
    await expect(call({ path: '/answer' })).rejects.toThrow('ECONNREFUSED')
  })
})
