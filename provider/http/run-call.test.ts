import { once } from 'node:events'
import { Hono } from 'hono'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { listen } from '../../protocol/http/listen.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import type { Payer } from '../../protocol/payer.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { resolveLimits } from '../../protocol/program-limits.ts'
import { usdc } from '../../protocol/usdc.ts'
import {
  addressOf,
  createTempDir,
  grantOf,
  market,
  openPolicy,
  openTestLedger,
  passOf,
  payer,
  provider,
} from '../../test/support/money.ts'
import { until } from '../../test/support/tunnels.ts'
import { createPlaces } from '../admission/places.ts'
import { createUnpaidRuns } from '../admission/unpaid-runs.ts'
import type { Deployment } from '../deployments/deployments.ts'
import type { CallHandler, Instance } from '../runtime/runtime.ts'
import { createBodyRoom } from './call-body.ts'
import { createCallIds } from './call-ids.ts'
import { type CallDeps, runCall } from './run-call.ts'
import { createFront } from './serve.ts'

const cid = parseContentCid('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
const owner = addressOf(0x0e4)

const deployment: Deployment = {
  ...{ cid, programCid: cid, isSealed: false },
  digest: `0x${'01'.repeat(32)}`,
  specDigest: `0x${'02'.repeat(32)}`,
  programId: `0x${'03'.repeat(32)}` as ProgramId,
  spec: {
    ...{ version: 1, chainId: market.chainId, escrow: market.escrow, program: cid.toString() },
    ...{ runtime: 'js', entry: 'index.js', params: {}, env: {}, providers: [], terms: null },
    ...{ limits: { timeoutMs: 1_000, memoryMiB: 64, egress: 'none' }, payer: 'any', policy: openPolicy },
    ...{ owner: getAddress(owner), createdAt: 0, signature: `0x${'00'.repeat(65)}` },
  },
} as Deployment

/** Calls over a real socket, with real books; what their programs do the test says. */
async function setup(onCall: (handler: CallHandler, target: string) => void) {
  const stack = new AsyncDisposableStack()
  const dir = stack.use(createTempDir())
  const clock = createTestClock()
  const base = { clock, log: createTestLog() }
  const ledger = stack.use(await openTestLedger(dir.path, clock))
  const starting = { isSlow: false, begun: 0, left: 0 }
  const instance = {
    call({ target }, handler) {
      queueMicrotask(() => onCall(handler, target))
      return { pause() {}, resume() {}, abort() {} }
    },
  } as Partial<Instance> as Instance
  const deps: CallDeps = {
    ...base,
    createCallId: createCallIds(base),
    deployments: {
      peek: () => deployment,
      read: async () => deployment,
      readProgram: () => Promise.reject(),
    },
    findPayer: async ({ headers }): Promise<Payer> =>
      headers['x-pays'] === 'owner'
        ? { kind: 'owner', address: owner }
        : { kind: 'pass', address: payer, pass: passOf({ maxSpend: usdc(10n ** 9n) }) },
    unpaidRuns: createUnpaidRuns(base),
    places: createPlaces(base, { capacity: { memoryMiB: 1_024, cores: 64 } }),
    rules: {
      assertRuns: () => undefined,
      countCall: () => undefined,
      limitsOf: ({ limits: asked }) => resolveLimits(asked),
    },
    grants: { grant: (of) => grantOf({ payer: of }), credits: () => undefined },
    ledger,
    async instanceOf(_, signal) {
      if (!starting.isSlow) return instance
      starting.begun += 1
      await once(signal, 'abort')
      starting.left += 1
      return instance
    },
    needsOf: ({ limits: { memoryMiB } }) => ({ memoryMiB, cores: 1 }),
    x402: undefined,
    programLog: { add: () => undefined },
    metrics: { countCall: () => undefined },
    bodyRoom: createBodyRoom(limits.idempotentBodiesBytesMax),
    chainLostForMs: () => undefined,
  }
  const options = { provider, name: 'alice', market, priceUsdc: () => usdc(500n), noticeHours: 1 }
  const front = createFront({
    log: base.log,
    pages: new Hono(),
    runCall: (call) => runCall(deps, options, call),
  })
  const { url } = stack.use(await listen({ host: '127.0.0.1', port: 0, onRequest: front.onRequest }))
  const send = (target: string, headers: Record<string, string>, signal?: AbortSignal) =>
    fetch(new URL(`/${cid}${target}`, url), { headers, ...(signal && { signal }) })
  return { send, starting, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

const refused = new ProtocolError('body_too_large', 'The request body has more than 7 bytes.', {
  hint: 'Less.',
})

test.each<[string, Record<string, string>, Record<string, string>]>([
  ['a payer', { 'x-pays': 'pass' }, { 'x-pays': 'owner' }],
  [
    'callers of an owner that pays, from one place',
    { 'x-pays': 'owner' },
    { 'x-pays': 'owner', 'x-forwarded-for': '192.0.2.7' },
  ],
])('runs that end for what %s sends cost nothing, and are bounded', async (_, headers, others) => {
  await using alice = await setup((handler, target) => {
    if (target === '/refused') return handler.onEnd({ kind: 'refused', error: refused })
    handler.onHead(200, [])
    handler.onEnd({ kind: 'answered' })
  })
  const codes = []
  for (let i = 0; i < limits.unpaidRunsPerPayerPerMinuteMax; i += 1)
    codes.push((await alice.send('/refused', headers)).status)
  expect(new Set(codes)).toEqual(new Set([413]))
  const last = await alice.send('/refused', headers)
  expect([last.status, await last.json()]).toEqual([
    429,
    expect.objectContaining({ code: 'unpaid_runs_reached' }),
  ])
  expect((await alice.send('/', others)).status).toBe(200)
})

test('who has a program started and does not wait for it has had a run for nothing', async () => {
  await using alice = await setup((handler) => {
    handler.onHead(200, [])
    handler.onEnd({ kind: 'answered' })
  })
  const headers = { 'x-pays': 'pass' }
  alice.starting.isSlow = true
  const leaving = new AbortController()
  const calls = Array.from({ length: limits.unpaidRunsPerPayerPerMinuteMax }, () =>
    alice.send('/', headers, leaving.signal),
  )
  await until(() => alice.starting.begun === calls.length)
  leaving.abort()
  await Promise.allSettled(calls)
  await until(() => alice.starting.left === calls.length)
  alice.starting.isSlow = false
  expect((await alice.send('/', headers)).status).toBe(429)
})
