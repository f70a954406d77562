import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { statementPageSchemas, statementPaths } from '../../protocol/statement.ts'
import { advanceUntil } from '../../test/support/clock.ts'
import { market, never, provider, providerAccount } from '../../test/support/money.ts'
import { createProviderAccount } from './ask-provider.ts'
import type { Writer } from './write.ts'

/** A provider that has others to serve for so many requests, and says so. */
async function openBusy(refusals: number, retryAfterSeconds: number) {
  let asked = 0
  const server = createServer((_request, response) => {
    asked += 1
    const busy = new ProtocolError('too_many_requests', 'Others are served just now.', {
      hint: 'Send it again.',
      details: { retryAfterSeconds },
    })
    response.statusCode = asked > refusals ? 200 : busy.status
    response.end(JSON.stringify(asked > refusals ? { entries: [] } : busy.toProblem()))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const clock = createTestClock()
  const { chainId, escrow } = market
  const writer = { account: providerAccount, market: { chainId, contracts: { escrow } } } as unknown as Writer
  const account = createProviderAccount({ name: 'alice', address: provider, url }, writer, {
    clock,
    signal: never,
  })
  return {
    asked: () => asked,
    read: () => advanceUntil(clock, account.read(statementPaths.lanes, {}, statementPageSchemas.lanes)),
    [Symbol.dispose]: () => void server.close(),
  }
}

test('a provider that has others to serve is asked again when it has said that it has time', async () => {
  using alice = await openBusy(3, 1)
  expect(await alice.read()).toEqual({ entries: [] })
  expect(alice.asked()).toBe(4)
})

test('one that never has, or not soon, is not waited for without end', async () => {
  using never = await openBusy(Number.POSITIVE_INFINITY, 1)
  await expect(never.read()).rejects.toMatchObject({ code: 'too_many_requests' })
  expect(never.asked()).toBe(10)
  using late = await openBusy(1, 3_600)
  await expect(late.read()).rejects.toMatchObject({ code: 'too_many_requests' })
  expect(late.asked()).toBe(1)
})
