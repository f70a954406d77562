import { afterAll, beforeAll, expect, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { echoProgram, openMarket, type TestMarket } from '../support/market.ts'
import { publish } from '../support/specs.ts'

/** Strangers who want more of an owner's money than it signed for. */

let at: TestMarket
beforeAll(async () => {
  at = await openMarket()
})
afterAll(() => at[Symbol.asyncDispose]())

async function readBytes(cid: string): Promise<Uint8Array> {
  const { host, port } = at.dev.gateway
  const response = await fetch(`http://${host}:${port}/ipfs/${cid}?format=raw`)
  return new Uint8Array(await response.arrayBuffer())
}

test.each([
  ['a public spec', ['--public', '--timeout', '9000']],
  ['a sealed one', []],
])('%s under many CIDs costs its owner no more than under one', async (_what, flags) => {
  const { cid } = await at.deploy(echoProgram, ...flags, '--provider', 'alice', '--owner-per-day', '0.0005')
  const text = utf8.decode(await readBytes(cid))
  const copies = [` ${text}`, `${text}\n`, JSON.stringify(JSON.parse(text), null, 1)]
  const costs = await at.costsOf(async () => {
    expect((await at.call({ cid })).status).toBe(200)
    for (const copy of copies) {
      const another = await publish(at, utf8.encode(copy))
      expect(another).not.toBe(cid)
      expect((await at.call({ cid: another })).problem().code).toBe('owner_cap_reached')
    }
  })
  expect(costs).toEqual({ paid: { developer: 500n }, earned: { alice: 500n } })
})
