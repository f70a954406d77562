import { afterAll, beforeAll, expect, test } from 'vitest'
import { requestHttp } from '../../http.ts'
import { createUserInMarket, type UserInMarket } from '../../market/testing-user.ts'
import { type ServingCommand, startServing } from '../../testing.ts'

/** KH-16: an operator's own rules, on a provider that runs. */

let at: UserInMarket
let running: ServingCommand
let url: string
let cid: string
const up = ['provider', 'up', '--domain', 'carol', '--json', '--price', '0.0002']
const signal = new AbortController().signal
beforeAll(async () => {
  at = await createUserInMarket()
  running = await startServing(at.user, up)
  await run('approve carol --price 0.0005 --budget 0.1 --yes')
  const { answer } = await run('deploy app --provider carol')
  cid = answer['cid'] as string
  url = (answer as { urls: Record<string, string> }).urls['carol']!
  // The provider hears of a grant with its next look at the chain.
  while ((await call()).text.includes('grant_missing'));
})
afterAll(async () => {
  await running.stop()
  await at[Symbol.asyncDispose]()
})

const get = async (of: string) => {
  const { status, body } = await requestHttp({ url: new URL(of), bytesMax: 2 ** 16 }, signal)
  return { status, text: Buffer.from(body).toString() }
}
const call = () => get(`${url}hello`)
const run = async (line: string) => {
  const result = await at.user.run([...line.split(' '), '--json'])
  return { ...result, answer: result.json<Record<string, unknown>>() }
}
const policy = async (line: string) => {
  const { exitCode, answer } = await run(`provider policy ${line}`)
  return { exitCode, ...answer } as Record<string, unknown>
}
const refused = async () => {
  const { status, text } = await call()
  return [status, JSON.parse(text).code]
}
const expectOk = async () => expect((await call()).status).toBe(200)

test('what is denied or not allowed is refused at once, each with its code, and runs again when it is forgotten', async () => {
  await expectOk()
  const owner = (
    JSON.parse((await get(`http://carol.${at.market.gateway.domain}/_/d/${cid}`)).text) as { owner: string }
  ).owner
  for (const [what, code] of [
    [owner.toLowerCase(), 'owner_denied'],
    [cid, 'deployment_denied'],
    ['js', 'runtime_denied'],
    ['none', 'egress_refused'],
  ] as const) {
    expect(await policy(`deny ${what}`)).toMatchObject({ exitCode: 0, isRunning: true })
    expect(await refused()).toEqual([403, code])
    await policy(`forget ${what}`)
    await expectOk()
  }
  await policy('allow wasm')
  expect(await refused()).toEqual([403, 'runtime_denied'])
  await policy('allow js')
  await expectOk()
  await policy('forget js wasm')
})

test('a provider that gives less says so, and what asks for more is refused, before it is published, too', async () => {
  await policy('set memoryMiB=32 concurrency=3')
  expect(await refused()).toEqual([403, 'limits_too_high'])
  const { limits } = (await run('limits --provider carol')).answer as {
    limits: { name: string; providerMax: number }[]
  }
  expect(limits.find(({ name }) => name === 'memoryMiB')).toMatchObject({ max: 512, providerMax: 32 })
  expect((await run('deploy app --provider carol')).answer).toMatchObject({ code: 'limits_too_high' })
  expect((await run('deploy app --provider carol --memory 32')).exitCode).toBe(0)
  await policy('set memoryMiB=none concurrency=none')
  await expectOk()
})

test('a deployment is paused and resumed by hand, over a restart, and its owner reads it', async () => {
  const paused = await policy(`pause ${cid} it floods`)
  expect(paused).toMatchObject({ policy: { paused: [{ cid, reason: 'it floods' }] } })
  expect(await refused()).toEqual([503, 'deployment_paused'])
  expect((await at.user.run(['logs', cid, '--provider', 'carol'])).stdout).toContain(
    'paused the deployment: it floods',
  )
  await running.stop()
  // Where it does not run, its next start reads what is said now.
  expect(await policy('set capacityMiB=1024 capacityCores=2 faults=50,20 restSecondsMax=5')).toMatchObject({
    isRunning: false,
  })
  running = await startServing(at.user, up)
  expect(await refused()).toEqual([503, 'deployment_paused'])
  expect(await policy(`resume ${cid}`)).toMatchObject({
    policy: {
      paused: [],
      capacityMiB: 1024,
      capacityCores: 2,
      faults: { faultPercentMax: 50, callsMin: 20 },
      restSecondsMax: 5,
    },
    places: { calls: 0, waiting: 0, cores: 0 },
  })
  await expectOk()
})

test('what is no rule is refused, and the rules stay', async () => {
  const before = (await policy('show'))['policy']
  for (const wrong of [
    'deny nonsense',
    'set memoryMiB=1',
    'set colour=red',
    'frobnicate x',
    'pause js',
    'deny',
  ])
    expect((await policy(wrong))['exitCode']).toBe(2)
  expect((await policy('set memoryMiB=1'))['detail']).toBe('"1" is not a value for memoryMiB.')
  expect((await policy('show'))['policy']).toEqual(before)
})
