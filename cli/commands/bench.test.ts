import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createUserInMarket, type UserInMarket } from '../market/testing-user.ts'
import { startServing } from '../testing.ts'

interface Measured {
  readonly sent: number
  readonly statuses: Readonly<Record<string, number>>
  readonly chargedUsdc: string
  readonly refused: number
  readonly latencyMs: Readonly<Record<string, number>>
}

let at: UserInMarket
beforeAll(async () => {
  at = await createUserInMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

const run = (line: string) => at.user.run(line.split(' '))

async function deploy(flags = ''): Promise<{ url: string; owner: string }> {
  const deployed = await run(`deploy app --provider alice${flags} --json`)
  const { urls, owner } = deployed.json<{ urls: { alice: string }; owner: string }>()
  return { url: urls.alice, owner }
}

test('what paid calls cost is said and asked for first, and no call too many is made', async () => {
  const { url, owner } = await deploy()
  const dry = await run(`bench ${url} --dry-run --json`)
  expect(dry.json()).toMatchObject({ callsMax: 1000, priceUsdc: '500', worstUsdc: '500000' })
  expect(dry.stderr).toContain(`Each call costs 0.0005 USDC, paid by its owner ${owner}`)
  expect(dry.stderr).toContain('at most 0.5 USDC in all')
  expect((await run(`bench ${url} --json`)).json()).toMatchObject({ code: 'not_confirmed' })

  const result = (await run(`bench ${url}hello -c 4 --max-calls 25 --yes --json`)).json<Measured>()
  expect(result).toMatchObject({ sent: 25, statuses: { 200: 25 }, refused: 0, chargedUsdc: '12500' })
  const { min, p50, p99, max } = result.latencyMs as Record<'min' | 'p50' | 'p99' | 'max', number>
  expect([min, p50, p99, max]).toEqual([min, p50, p99, max].toSorted((a, b) => a - b))
  const { stdout } = await run(`bench ${url}echo -X POST --data hello -c 1 --max-calls 3 --yes`)
  expect(stdout).toMatch(
    /^calls {6}3 in [\d.]+ s, [\d.]+ a second, 15 B of bodies\nanswers {4}200: 3\nlatency/,
  )
})

test('calls that nobody pays for are refused, as was said; with a pass they are paid', async () => {
  const { url } = await deploy(' --payer caller')
  const refused = await run(`bench ${url} -c 1 --max-calls 2 --yes`)
  expect(refused.stderr).toContain('which nobody pays without a pass')
  expect(refused.stdout).toContain('refused    2 of them by the network')
  expect(refused.stdout).not.toContain('charged')
  const made = await run('pass create --account payer --provider alice --max-price 0.001 --max-spend 0.1')
  const paid = await at.user.run(['bench', `${url}hello`, '-c', '1', '--max-calls', '2', '--yes'], {
    env: { KHACHAPURI_PASS: made.stdout.trim() },
  })
  expect(paid.stderr).toContain('paid by whoever made the pass')
  expect(paid.stdout).toContain('charged    0.001 USDC')
})

test('what runs locally costs nothing, needs no answer, and is shown no pass', async () => {
  const dir = join(at.user.dir, 'strict')
  await mkdir(dir)
  const source = `export default {
    fetch: ({ headers }) => new Response(null, { status: headers.has('authorization') ? 400 : 200 })
  }`
  await writeFile(join(dir, 'index.js'), source)
  await writeFile(join(dir, 'khachapuri.json'), '{"name":"strict","entry":"index.js"}')
  const running = await startServing(at.user, ['run', 'strict'])
  const url = /http_url=(\S+)/.exec(running.first)?.[1]
  const { stderr, json } = await at.user.run(
    ['bench', `${url}hello`, '-c', '2', '-d', '1s', '--max-calls', '50', '--json'],
    { env: { KHACHAPURI_PASS: 'worth money' } },
  )
  expect(stderr).toContain('Nobody there asks for money.')
  expect(json<Measured>()).toMatchObject({ sent: 50, statuses: { 200: 50 }, chargedUsdc: '0' })
  await running.stop()
})

test.each([
  ['nobody there', 'bench http://127.0.0.1:1/', 'provider_unreachable'],
  ['no URL', 'bench alice', 'usage_invalid'],
  ['no connection', 'bench http://127.0.0.1:1/ -c 0', 'usage_invalid'],
  ['too long', 'bench http://127.0.0.1:1/ -d 2d', 'usage_invalid'],
])('%s is refused', async (_what, line, code) => {
  expect((await run(`${line} --json`)).json()).toMatchObject({ code })
})
