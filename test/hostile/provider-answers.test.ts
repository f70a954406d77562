import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KiB } from '../../protocol/base/bytes.ts'
import { callHeaders } from '../../protocol/call.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'

/** What a program answers, or does not read, harms nobody but itself. */

const quotes = `export default { fetch(request) {
  const { pathname, search } = new URL(request.url)
  const headers = { 'x-large': '"'.repeat(Number(pathname.slice(1))) }
  return new Response(search ? new ReadableStream({ pull: (c) => { c.enqueue(new Uint8Array(1)); c.close() } }) : 'x', { headers })
} }`

const both = [
  '--provider',
  'alice',
  '--provider',
  'bob',
  '--owner-per-day',
  'none',
  '--calls-per-minute',
  'none',
]
let at: TestMarket
let quoting: string
let echo: string
beforeAll(async () => {
  at = await openMarket()
  const dir = join(at.user.dir, 'quotes')
  await mkdir(dir)
  const manifest = { name: 'quotes', runtime: 'js', entry: 'index.js' }
  await writeFile(join(dir, 'khachapuri.json'), JSON.stringify(manifest))
  await writeFile(join(dir, 'index.js'), quotes)
  quoting = (await at.deploy(dir, ...both)).cid
  echo = (await at.deploy(echoProgram, ...both)).cid
})
afterAll(() => at[Symbol.asyncDispose]())

describe.each(['alice', 'bob'])('%s', (provider) => {
  test.each(['/32675', '/32675?stream', `/${24 * KiB}`])(
    'outlives a program whose head fits no frame: %s',
    async (path) => {
      const answer = await at.call({ provider, cid: quoting, path })
      expect(answer.status).toBe(502)
      const after = await at.call({ provider, cid: quoting, path: '/10' })
      expect([after.status, after.header('x-large')]).toEqual([200, '"'.repeat(10)])
    },
  )

  test('speaks for itself: what a program says of the call, its price or the connection goes no further', async () => {
    const forged = ['call', 'receipt', 'charged', 'fault', 'outcome'].map(
      (name) => `khachapuri-${name}:forged`,
    )
    const hops = [
      'connection:x-own',
      'keep-alive:forged',
      'proxy-authenticate:forged',
      'upgrade:forged',
      'te:forged',
    ]
    const query = [...forged, ...hops, 'x-own:kept'].map((header) => `header=${encodeURIComponent(header)}`)
    const answer = await at.call({ provider, cid: echo, path: `/answer?${query.join('&')}&body=body` })
    expect([answer.status, answer.text, answer.header('x-own')]).toEqual([200, 'body', 'kept'])
    expect(JSON.stringify(answer.rawHeaders)).not.toContain('forged')
    const receipt = await at.call({ provider, path: `/_/receipts/${answer.header(callHeaders.call)}` })
    expect(receipt.json()).toMatchObject({ status: 200, outcome: 'answered', price: '500' })
  })

  test('gives the answer of a program that does not read its request, whatever that says', async () => {
    const sizes = Array.from({ length: 40 }, (_, i) => i * 25 * KiB)
    const costs = await at.costsOf(async () => {
      for (const size of sizes) {
        const answer = await at.call({ provider, cid: echo, path: '/ignore', body: Buffer.alloc(size) })
        expect([size, answer.status, answer.text]).toEqual([size, 200, 'ignored'])
      }
    })
    const price = 500n * BigInt(sizes.length)
    expect(costs).toEqual({ paid: { developer: price }, earned: { [provider]: price } })
  })
})
