import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { callHeaders } from '../../protocol/call.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { openOrigin } from '../support/http-origin.ts'
import { openMarket } from '../support/market.ts'

/** Egress as a developer and an operator meet it: the command line, a provider, the gateway, receipts. */

const at = await openMarket()
afterAll(() => at[Symbol.asyncDispose]())
const carol = await at.startProvider('carol', { egressAllowsPrivate: true })
const grants = [{ provider: carol.address, priceUsdc: parseUsdc('0.0005'), budgetUsdc: parseUsdc('1') }]
const payer = await at.createPayer({ name: 'reader', grants })
const pass = await at.pass({ payer: payer.account.address, providers: [carol.address] }, payer.account)

const oracle = join(import.meta.dirname, '../../examples/price-oracle')
const sample = (name: string) => readFile(join(oracle, 'samples', `${name}.json`))

test('the price oracle answers with what the listed origin says, and with why where it may not ask', async () => {
  await using exchanges = await openOrigin((request, response) => {
    sample(request.url?.split('/')[1] ?? '').then((answer) => response.end(answer))
  })
  const price = { coinbase: ['data', 'amount'], bitstamp: ['last'], gemini: ['last'] }
  const sources = Object.entries(price).map(([name, path]) => ({
    url: `${exchanges.url}/${name}/{base}`,
    price: path,
  }))
  const deploy = (quorum: number, more: object[], egress: string) =>
    at.deploy(
      oracle,
      '--provider',
      'carol',
      '--egress',
      egress,
      '--params',
      JSON.stringify({ quorum, sources: [...sources, ...more] }),
    )

  const { cid } = await deploy(3, [{ url: 'https://elsewhere.example/', price: [] }], exchanges.url)
  const answer = await at.call({ provider: 'carol', cid, path: '/?pair=BTC-USD', pass })
  expect(answer.status).toBe(200)
  const host = new URL(exchanges.url).host
  expect(answer.json()).toEqual({
    pair: 'BTC-USD',
    price: '64010.255',
    sources: [
      { host, price: '64010.255' },
      { host, price: '64002' },
      { host, price: '64019.11' },
      { host: 'elsewhere.example', error: 'egress_not_allowed' },
    ],
  })

  // A provider that was not told otherwise reaches nothing on its own machine, whatever is listed.
  const { cid: forAlice } = await at.deploy(
    oracle,
    ...['--provider', 'alice', '--egress', exchanges.url],
    ...['--params', JSON.stringify({ quorum: 3, sources })],
  )
  const refused = await at.call({ cid: forAlice, path: '/?pair=BTC-USD' })
  expect(refused.status).toBe(502)
  expect(refused.json()).toMatchObject({ sources: Array(3).fill({ host, error: 'egress_address_blocked' }) })
  expect(exchanges.requests()).toBe(3)
})

test('/_/info says what programs may reach, and the page for people, too', async () => {
  const info = await at.call({ provider: 'carol', path: '/_/info' })
  expect(info.json()).toMatchObject({ egress: 'listed' })
  const page = await at.call({ provider: 'carol', path: '/', rawHeaders: ['accept', 'text/html'] })
  expect(page.text).toContain('public servers that their deployments list')
})

test('a program that fails for what it used up of the network has an outcome of its own, which its caller does not pay', async () => {
  await using origin = await openOrigin((_, response) => response.end('ok'))
  const source = `export default {
    async fetch(request, { params }) {
      for (;;) {
        const answer = await fetch(params.url)
        if (!answer.ok) throw new Error('no more')
        await answer.text()
      }
    },
  }`
  const manifest = {
    name: 'greedy',
    entry: 'index.js',
    params: { url: origin.url },
    limits: { egress: [origin.url] },
  }
  const dir = await writeProgram('greedy', { manifest, source })
  const { cid } = await at.deploy(dir, '--provider', 'carol')
  const costs = await at.costsOf(async () => {
    const answer = await at.call({ provider: 'carol', cid, pass })
    expect(answer.status).toBe(502)
    expect(answer.json()).toMatchObject({ code: 'program_egress_exceeded' })
    const receipt = await at.call({
      provider: 'carol',
      path: `/_/receipts/${answer.header(callHeaders.call)}`,
    })
    expect(receipt.json()).toMatchObject({ outcome: 'program_egress_exceeded', status: 502, price: '0' })
  })
  expect(costs).toEqual({ paid: {}, earned: {} })
  expect(origin.requests()).toBe(limits.egressRequestsPerCallMax)
})

test('a wasm program that asks for a network is refused before anything is built or signed', async () => {
  const manifest = { name: 'clock', runtime: 'wasm', entry: 'index.js', limits: { egress: 'public' } }
  const dir = await writeProgram('clock', { manifest, source: '' })
  const { exitCode, stderr } = await at.user.run(['deploy', dir, '--provider', 'carol'])
  expect(exitCode).toBe(1)
  expect(stderr).toContain('A wasm program has no network')
})

async function writeProgram(
  name: string,
  { manifest, source }: { manifest: object; source: string },
): Promise<string> {
  const dir = join(at.user.dir, name)
  await mkdir(dir)
  await writeFile(join(dir, 'index.js'), source)
  await writeFile(join(dir, 'khachapuri.json'), JSON.stringify(manifest))
  return dir
}
