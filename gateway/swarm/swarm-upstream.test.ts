import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { headerValues } from '../../protocol/http/headers.ts'
import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { type ProviderName, parseName } from '../../protocol/name.ts'
import { parseMember } from '../../protocol/swarm/member.ts'
import { usdc } from '../../protocol/usdc.ts'
import { signVoucher } from '../../protocol/voucher.ts'
import { formatVoucherSet, parseVoucherSet } from '../../protocol/voucher-set.ts'
import { formatVoucherToken, signVoucherAccess } from '../../protocol/voucher-token.ts'
import { addressOf, market } from '../../test/support/money.ts'
import { digestOf } from '../../test/support/votes.ts'
import { readSwarmTerms } from './draw-swarm.ts'
import { createSwarmUpstream } from './swarm-upstream.ts'

const cid = parseContentCid('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
const names = ['alice', 'bob', 'carol'].map(parseName)
const addressBy = (index: number) => addressOf(0xa0 + index)
const signer = privateKeyToAccount(`0x${'01'.repeat(32)}`)

/** A swarm of three whose ways the test ends, if it wants them to end. */
function openSwarm(vouchers?: string) {
  const clock = createTestClock()
  const asked: (UpstreamRequest & { readonly name: string })[] = []
  const left: string[] = []
  const routeTo = ({ name }: ProviderName) => ({
    host: undefined,
    upstream: {
      send(request: UpstreamRequest) {
        asked.push({ ...request, name })
        return { pause() {}, resume() {}, abort: () => void left.push(name) }
      },
    },
  })
  const swarm = createSwarmUpstream(
    {
      clock,
      log: createTestLog(),
      market,
      routes: { routeTo },
      admitProvider: () => true,
      isDelegated: async () => true,
      onCounted: () => undefined,
    },
    {
      cid,
      terms: { members: 3, agreeing: 2, timeoutMs: 3_000 },
      block: { number: 8n, hash: digestOf(8) },
      candidates: names.map((_, index) => addressBy(index)),
      seats: names.map((name, index) => {
        const address = addressBy(index)
        return { name, address, provider: { name, address } as ProviderName }
      }),
      host: 'any.localhost',
      vouchers: vouchers === undefined ? undefined : parseVoucherSet(vouchers),
    },
  )
  return { swarm, clock, asked, left }
}

const request: UpstreamRequest = {
  method: 'GET',
  target: `/${cid}/`,
  rawHeaders: ['host', 'any.localhost', 'x-word', 'hi', 'Khachapuri-Voucher', 'all of them'],
}

/** Sends it, and gives what came of it in the end. */
function send({ swarm }: ReturnType<typeof openSwarm>) {
  const told = Promise.withResolvers<readonly string[]>()
  let headers: readonly string[] = []
  const exchange = swarm.send(request, {
    onHead(status, rawHeaders) {
      headers = [...rawHeaders, 'status', String(status)]
    },
    onData: () => undefined,
    onEnd: () => told.resolve(headers),
    onError: told.reject,
  })
  return { exchange, told: told.promise }
}

const voucherFor = async (index: number) => {
  const voucher = {
    payer: signer.address,
    provider: addressBy(index),
    maxAmount: usdc(500n),
    maxCalls: 1,
    epoch: 0,
  }
  const signature = await signVoucher(voucher, signer, market)
  const access = await signVoucherAccess(voucher, signer, market)
  return formatVoucherToken({ signed: { voucher, signer: signer.address, signature }, access })
}

test('a caller who leaves in the middle of a swarm takes the request back from all members', async () => {
  const opened = openSwarm()
  const { exchange } = send(opened)
  while (opened.asked.length < 3) await new Promise(setImmediate)
  exchange.abort()
  while (opened.left.length < 3) await new Promise(setImmediate)
  expect(opened.asked.map(({ target }) => target)).toEqual(names.map(() => `/${cid}/`))
  expect(opened.left).toEqual(names)
})

test('of the vouchers that pay for a swarm each member sees its own, and who has none is not asked', async () => {
  const [forAlice, forCarol] = [await voucherFor(0), await voucherFor(2)]
  const opened = openSwarm(formatVoucherSet([forAlice, forCarol]))
  const { told } = send(opened)
  while (opened.asked.length < 2 || opened.clock.sleepers === 0) await new Promise(setImmediate)
  await opened.clock.advance(3_000)
  const headers = await told
  expect(
    opened.asked.map(({ name, rawHeaders }) => [name, headerValues(rawHeaders, 'khachapuri-voucher')]),
  ).toEqual([
    ['alice', [forAlice]],
    ['carol', [forCarol]],
  ])
  expect(headerValues(headers, 'khachapuri-swarm-member').map(parseMember)).toMatchObject([
    { name: 'alice', state: 'timeout' },
    { name: 'bob', state: 'failed', code: 'voucher_not_for_provider' },
    { name: 'carol', state: 'timeout' },
  ])
  expect(headerValues(headers, 'status')).toEqual(['502'])
})

test('an x402 payment is no way to pay for a swarm, and says which are', () => {
  const swarm = { 'khachapuri-swarm': 'n=3' }
  expect(readSwarmTerms({ ...swarm, 'khachapuri-voucher': 'kv1.x' })).toMatchObject({ members: 3 })
  expect(() => readSwarmTerms({ ...swarm, 'payment-signature': 'x' })).toThrow(
    expect.objectContaining({
      code: 'ballot_payment_unsupported',
      hint: expect.stringContaining('voucher create'),
    }),
  )
})
