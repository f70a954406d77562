import { once } from 'node:events'
import { Hono } from 'hono'
import { type Address, getAddress, type Hex } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { hashInput } from '../../protocol/call-record.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { listen } from '../../protocol/http/listen.ts'
import type { UpstreamRequest } from '../../protocol/http/upstream.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import type { Payer } from '../../protocol/payer.ts'
import type { ProgramId } from '../../protocol/program.ts'
import { resolveLimits } from '../../protocol/program-limits.ts'
import { parseSignedReceipt } from '../../protocol/read-receipt.ts'
import { formatBallot } from '../../protocol/swarm/ballot.ts'
import { formatProof, revealPath } from '../../protocol/swarm/reveal.ts'
import { formatVote, parseVote, type SignedVote } from '../../protocol/swarm/vote.ts'
import { usdc } from '../../protocol/usdc.ts'
import { verifyReceipt } from '../../protocol/verify-receipt.ts'
import type { SignedVoucher } from '../../protocol/voucher.ts'
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
import { createVoter, digestOf } from '../../test/support/votes.ts'
import { createPlaces } from '../admission/places.ts'
import { createUnpaidRuns } from '../admission/unpaid-runs.ts'
import { createBallots } from '../ballots/ballots.ts'
import { serveReveal } from '../ballots/serve-reveal.ts'
import type { Deployment } from '../deployments/deployments.ts'
import { openCallRecords } from '../replay/call-records.ts'
import type { CallHandler, Instance } from '../runtime/runtime.ts'
import { createBodyRoom } from './call-body.ts'
import { createCallIds } from './call-ids.ts'
import { toRecordedHeaders } from './program-headers.ts'
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
async function setup(
  onCall: (handler: CallHandler, target: string, request: UpstreamRequest) => void,
  changes: Partial<Omit<Deployment['spec'], 'providers'>> & { readonly providers?: readonly Address[] } = {},
) {
  const stack = new AsyncDisposableStack()
  const dir = stack.use(createTempDir())
  const clock = createTestClock()
  const base = { clock, log: createTestLog() }
  const ledger = stack.use(await openTestLedger(dir.path, clock))
  const callRecords = stack.use(openCallRecords(base, { dir: dir.path }))
  const starting = { isSlow: false, begun: 0, left: 0, onAbort: () => {} }
  const instance = {
    call(request, handler) {
      queueMicrotask(() => onCall(handler, request.target, request))
      return { pause() {}, resume() {}, abort: () => starting.onAbort() }
    },
  } as Partial<Instance> as Instance
  const served = () => ({ ...deployment, spec: { ...deployment.spec, ...changes } }) as Deployment
  const ballots = stack.use(
    createBallots(
      {
        ...base,
        seedBlocks: { find: async (number) => (number === 8n ? { number, hash: blockHash } : undefined) },
      },
      { provider },
    ),
  )
  const deps: CallDeps = {
    ...base,
    createCallId: createCallIds(base),
    deployments: {
      peek: served,
      read: async () => served(),
      readProgram: () => Promise.reject(),
    },
    findPayer: async ({ headers }): Promise<Payer> =>
      headers['x-pays'] === 'owner'
        ? { kind: 'owner', address: owner }
        : headers['x-pays'] === 'x402'
          ? { kind: 'x402', address: payer, payment: {} as never }
          : headers['x-pays'] === 'voucher'
            ? { kind: 'voucher', address: payer, signed: voucherForOneCall }
            : { kind: 'pass', address: payer, pass: passOf({ maxSpend: usdc(10n ** 9n) }) },
    unpaidRuns: createUnpaidRuns(base),
    places: createPlaces(base, { capacity: { memoryMiB: 1_024, cores: 64 } }),
    rules: {
      assertRuns: () => undefined,
      countCall: () => undefined,
      limitsOf: ({ limits: asked }) => resolveLimits(asked),
    },
    grants: {
      grant: (of, signer) => grantOf({ payer: of, ...(signer && { signer }) }),
      credits: () => undefined,
    },
    ledger,
    ballots,
    async instanceOf(_, _use, signal) {
      if (!starting.isSlow) return instance
      starting.begun += 1
      await once(signal, 'abort')
      starting.left += 1
      return instance
    },
    needsOf: ({ limits: { memoryMiB } }) => ({ memoryMiB, cores: 1 }),
    x402: undefined,
    programLog: { add: () => undefined },
    callRecords,
    metrics: { countCall: () => undefined },
    bodyRoom: createBodyRoom(limits.idempotentBodiesBytesMax),
    chainLostForMs: () => undefined,
  }
  const options = { provider, name: 'alice', market, priceUsdc: () => usdc(500n), noticeHours: 1 }
  const front = createFront({
    log: base.log,
    pages: new Hono(),
    runCall: (call) => runCall(deps, options, call),
    reveal: (request, response) => serveReveal(ballots, request, response),
  })
  const { url } = stack.use(await listen({ host: '127.0.0.1', port: 0, onRequest: front.onRequest }))
  const send = (target: string, headers: Record<string, string>, signal?: AbortSignal) =>
    fetch(new URL(`/${cid}${target}`, url), { headers, ...(signal && { signal }) })
  const show = async (callId: string, votes: readonly SignedVote[], body = true) =>
    fetch(new URL(`${revealPath}${callId}`, url), {
      method: 'POST',
      body: formatProof({ votes: votes.map(formatVote), body }),
    })
  const post = (body: string, headers: Record<string, string>) =>
    fetch(new URL(`/${cid}/a?b`, url), { method: 'POST', headers, body })
  return {
    ...{ send, post, show, starting, ledger, callRecords, ballots, clock },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

const blockHash = digestOf(8)

/** Signatures are checked before a voucher gets here. */
const voucherForOneCall: SignedVoucher = {
  voucher: { payer, provider, maxAmount: usdc(500n), maxCalls: 1, epoch: 0 },
  signer: payer,
  signature: `0x${'5f'.repeat(64)}1b`,
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

const [bob, carol] = [await createVoter(), await createVoter()]
const providers = [provider, bob.address, carol.address]
const ballot = { swarm: digestOf(1), block: 8n, members: 3, agreeing: 2, timeoutMs: 3_000 }
const ballotHeader = { 'x-pays': 'pass', 'khachapuri-ballot': formatBallot(ballot) }

const sayHello = (handler: CallHandler) => {
  handler.onHead(404, ['X-Mine', 'a', 'X-Mine', 'b', 'Content-Length', '5'])
  handler.onData(Buffer.from('hello'))
  handler.onEnd({ kind: 'answered' })
}

async function vote(alice: Awaited<ReturnType<typeof setup>>): Promise<SignedVote> {
  const answer = await alice.send('/a?b', ballotHeader)
  const signed = parseVote(answer.headers.get('khachapuri-vote') ?? '')
  expect(answer.status).toBe(202)
  expect(await answer.text()).not.toContain('hello')
  if (!signed) throw new Error('it has not voted')
  return signed
}

async function receiptOf({ ledger }: Awaited<ReturnType<typeof setup>>, callId: Hex) {
  for (;;) {
    const receipt = await ledger.readReceipt(callId)
    if (receipt) return receipt
  }
}

test('a ballot is answered with a vote; whoever shows enough votes has the answer, for one charge', async () => {
  await using alice = await setup(sayHello, { providers })
  const own = await vote(alice)
  const { callId } = own.vote
  expect(await alice.ledger.readReceipt(callId)).toBeUndefined()
  const votes = [own, bob.sign({ ...own.vote, callId: digestOf(7) })]
  const [answer, again, receiptOnly] = [
    await alice.show(callId, votes),
    await alice.show(callId, votes),
    await alice.show(callId, votes, false),
  ]
  expect([answer.status, await answer.text(), answer.headers.get('x-mine')]).toEqual([404, 'hello', 'a, b'])
  expect([again.status, await again.text()]).toEqual([404, 'hello'])
  expect([receiptOnly.status, await receiptOnly.text()]).toEqual([204, ''])
  const words = [answer, again, receiptOnly].map(({ headers }) => headers.get('khachapuri-receipt') ?? '')
  expect(new Set(words).size).toBe(1)
  const receipt = parseSignedReceipt(words[0] as string)
  if (!receipt) throw new Error('there is no receipt')
  const { requestDigest, responseDigest, status } = own.vote
  const checks = await verifyReceipt(receipt, {
    callId,
    requestDigest,
    responseDigest,
    status,
    provider,
    market,
  })
  expect(checks.filter(({ verdict }) => verdict === 'wrong')).toEqual([])
  expect(receipt.receipt).toMatchObject({ outcome: 'answered', priceUsdc: 500n })
})

test('too few votes show nothing: no answer, no charge, and the time ends it', async () => {
  await using alice = await setup(sayHello, { providers })
  const { callId, ...rest } = (await vote(alice)).vote
  const own = await vote(alice)
  const tries: SignedVote[][] = [
    [],
    [bob.sign({ ...own.vote, answerDigest: digestOf(99) })],
    [bob.sign({ ...own.vote, swarm: digestOf(99) })],
    [{ ...own, key: { ...own.key, provider: bob.address } }],
    [own, own, own],
  ]
  for (const others of tries) {
    const answer = await alice.show(own.vote.callId, [own, ...others])
    expect([answer.status, await answer.json()]).toEqual([
      403,
      expect.objectContaining({ code: 'votes_missing' }),
    ])
  }
  await alice.clock.advance(ballot.timeoutMs + limits.ballotGraceMs)
  const late = await alice.show(callId, [own, bob.sign({ ...rest, callId })])
  expect(await late.json()).toMatchObject({ code: 'ballot_unknown' })
  for (const id of [callId, own.vote.callId])
    expect(await receiptOf(alice, id)).toMatchObject({ outcome: 'outvoted', priceUsdc: 0n })
  expect(alice.ballots.held).toBe(0)
})

const byVoucher = { ...ballotHeader, 'x-pays': 'voucher' }

test('a voucher pays for a ballot where enough voted alike, and only there', async () => {
  await using alice = await setup(sayHello, { providers })
  const ask = async () => parseVote((await alice.send('/', byVoucher)).headers.get('khachapuri-vote') ?? '')
  const outvoted = await ask()
  // Its one call is in flight until the time of the swarm is over.
  expect(await (await alice.send('/', byVoucher)).json()).toMatchObject({ code: 'voucher_too_low' })
  await alice.clock.advance(ballot.timeoutMs + limits.ballotGraceMs)
  expect(await receiptOf(alice, outvoted?.vote.callId as Hex)).toMatchObject({
    outcome: 'outvoted',
    priceUsdc: 0n,
  })
  const own = await ask()
  if (!own) throw new Error('it has not voted')
  const answer = await alice.show(own.vote.callId, [bob.sign({ ...own.vote, callId: digestOf(7) })])
  const { headers } = answer
  expect([answer.status, headers.get('khachapuri-spent'), headers.get('khachapuri-calls')]).toEqual([
    404,
    '500',
    '1',
  ])
  expect(await (await alice.send('/', byVoucher)).json()).toMatchObject({ code: 'voucher_too_low' })
})

test('a caller who leaves in the middle of a ballot is not charged, and has had a run', async () => {
  const runs: CallHandler[] = []
  await using alice = await setup((handler) => void runs.push(handler), { providers })
  const aborted = Promise.withResolvers<void>()
  alice.starting.onAbort = aborted.resolve
  const leaving = new AbortController()
  const left = alice.send('/', byVoucher, leaving.signal)
  await until(() => runs.length === 1)
  leaving.abort()
  await expect(left).rejects.toThrow()
  await aborted.promise
  expect(alice.ballots.held).toBe(0)
  // What its program answers now is nobody's, and the voucher for one call has it still.
  sayHello(runs[0] as CallHandler)
  const again = alice.send('/', byVoucher)
  await until(() => runs.length === 2)
  sayHello(runs[1] as CallHandler)
  expect((await again).status).toBe(202)
  expect(alice.ballots.held).toBe(1)
})

test('what is held when the provider stops is released', async () => {
  await using alice = await setup(sayHello, { providers })
  const { callId } = (await vote(alice)).vote
  await alice.ballots[Symbol.asyncDispose]()
  expect(await receiptOf(alice, callId)).toMatchObject({ outcome: 'outvoted', priceUsdc: 0n })
})

test('a program’s fault is no vote, and costs its owner nothing; nor is an answer that is too large to be held', async () => {
  await using alice = await setup(
    (handler, target) => {
      handler.onHead(200, [])
      if (target === '/large') handler.onData(Buffer.alloc(limits.ballotAnswerBytesMax + 1))
      handler.onEnd({ kind: 'crashed', message: 'Oops.' })
    },
    { providers },
  )
  const owned = { ...ballotHeader, 'x-pays': 'owner' }
  for (const [path, code, outcome] of [
    ['/', 'program_crashed', 'program_crashed'],
    ['/large', 'ballot_answer_too_large', 'outvoted'],
  ] as const) {
    const answer = await alice.send(path, owned)
    expect(await answer.json()).toMatchObject({ code })
    const callId = answer.headers.get('khachapuri-call') as Hex
    expect(await receiptOf(alice, callId)).toMatchObject({ outcome, priceUsdc: 0n })
  }
  expect(alice.ballots.held).toBe(0)
})

test('a ballot that cannot be one is refused before anything runs', async () => {
  let runs = 0
  const named: { providers: readonly Address[] } = { providers }
  await using alice = await setup((handler) => {
    runs += 1
    sayHello(handler)
  }, named)
  const refusals: [string, Record<string, string>, readonly Address[]][] = [
    ['ballot_invalid', { 'khachapuri-ballot': 'n=3' }, providers],
    ['ballot_invalid', { ...ballotHeader, 'idempotency-key': 'k' }, providers],
    ['ballot_payment_unsupported', { ...ballotHeader, 'x-pays': 'x402' }, providers],
    ['swarm_members_unknown', ballotHeader, []],
    ['ballot_not_selected', ballotHeader, [bob.address, carol.address, addressOf(7)]],
    [
      'ballot_block_other',
      { ...ballotHeader, 'khachapuri-ballot': formatBallot({ ...ballot, block: 16n }) },
      providers,
    ],
  ]
  for (const [code, headers, of] of refusals) {
    named.providers = of
    const answer = await alice.send('/', { 'x-pays': 'pass', ...headers })
    expect([await answer.json(), runs]).toEqual([expect.objectContaining({ code }), 0])
  }
})

test('a recorded program sees nothing but what its receipt binds, and that is kept for as long as its deployment says', async () => {
  const seen: UpstreamRequest[] = []
  await using alice = await setup(
    (handler, _, request) => {
      seen.push(request)
      handler.onHead(200, [])
      handler.onEnd({ kind: 'answered' })
    },
    { runtime: 'wasm', record: { seconds: 60 } },
  )
  const ids: Hex[] = []
  for (const [body, keyed] of [
    ['hi', { cookie: 'a=b', 'content-type': 'text/plain' }],
    ['hi', { 'idempotency-key': 'k', authorization: 'Basic eA==' }],
    ['', { 'x-any': 'thing' }],
  ] as const) {
    const answer = await alice.post(body, { 'x-pays': 'owner', ...keyed })
    expect(answer.status).toBe(200)
    const callId = answer.headers.get('khachapuri-call') as Hex
    ids.push(callId)
    const record = alice.callRecords.read(callId)
    expect(record).toMatchObject({
      input: { method: 'POST', target: '/a?b' },
      readers: [owner, getAddress(owner)],
    })
    expect(Buffer.from(record?.input.body ?? []).toString()).toBe(body)
    const receipt = await alice.ledger.readReceipt(callId)
    expect(receipt?.requestDigest).toBe(record && hashInput(record.input))
    const names = seen.at(-1)?.rawHeaders.filter((_, i) => i % 2 === 0)
    expect(names).toEqual(['host', 'khachapuri-seed', 'khachapuri-started'])
    expect(seen.at(-1)?.rawHeaders).toEqual(
      toRecordedHeaders({ callId, startedMs: receipt?.startedAt as number }),
    )
  }
  expect(seen.map(({ body }) => body?.toString())).toEqual(['hi', 'hi', undefined])
  const tooLarge = await alice.post('x'.repeat(limits.callRecordBodyBytesMax + 1), { 'x-pays': 'owner' })
  expect([tooLarge.status, seen.length]).toEqual([413, 3])
  await alice.clock.advance(60_000)
  expect(ids.map((id) => alice.callRecords.read(id))).toEqual([undefined, undefined, undefined])
})
