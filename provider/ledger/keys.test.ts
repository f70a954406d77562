import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'
import {
  addressOf,
  claimOf,
  createTempDir,
  deployment,
  never,
  openTestLedger,
  payer,
  randomHex,
  receiptOf,
  reserve,
} from '../../test/support/money.ts'
import type { KeyRequest } from './keys.ts'
import type { Ledger } from './ledger.ts'
import type { StoredAnswer } from './records.ts'

const requestOf = (changes: Partial<KeyRequest> = {}): KeyRequest => ({
  payer,
  deployment,
  key: 'order-7',
  requestDigest: `0x${'aa'.repeat(32)}`,
  ...changes,
})

const answerOf = (bytes = 5): StoredAnswer => ({
  status: 201,
  rawHeaders: ['Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'],
  body: new Uint8Array(bytes).fill(7),
})

async function runKeyed(ledger: Ledger, answer: StoredAnswer | undefined, changes: Partial<KeyRequest> = {}) {
  const claimed = await ledger.claimKey(requestOf(changes), never)
  if (claimed.kind !== 'claimed') throw new Error('the key was taken')
  using key = claimed.key
  const claim = claimOf()
  await reserve(ledger, claim).charge(receiptOf(claim), { key, answer })
  return claim.callId
}

test('the same key and request give the stored answer, after a restart too', async () => {
  using dir = createTempDir()
  const answer = answerOf()
  let callId: string
  {
    await using ledger = await openTestLedger(dir.path)
    callId = await runKeyed(ledger, answer)
    expect(await ledger.claimKey(requestOf(), never)).toEqual({ kind: 'stored', callId, answer })
  }
  await using ledger = await openTestLedger(dir.path)
  expect(await ledger.claimKey(requestOf(), never)).toEqual({ kind: 'stored', callId, answer })
})

test('a second request waits for the first one in flight and gets its answer', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const first = await ledger.claimKey(requestOf(), never)
  const waiting = Promise.all([ledger.claimKey(requestOf(), never), ledger.claimKey(requestOf(), never)])
  if (first.kind !== 'claimed') throw new Error('nobody had the key')
  const claim = claimOf()
  await reserve(ledger, claim).charge(receiptOf(claim), { key: first.key, answer: answerOf() })
  expect((await waiting).map(({ kind }) => kind)).toEqual(['stored', 'stored'])
})

test('a call that came to nothing hands its key to exactly one of those who wait', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const first = await ledger.claimKey(requestOf(), never)
  const waiting = [1, 2, 3].map(() => ledger.claimKey(requestOf(), never))
  if (first.kind !== 'claimed') throw new Error('nobody had the key')
  first.key[Symbol.dispose]()
  const next = await Promise.race(waiting)
  if (next.kind !== 'claimed') throw new Error('the key was not handed on')
  const claim = claimOf()
  await reserve(ledger, claim).charge(receiptOf(claim), { key: next.key, answer: answerOf() })
  const kinds = (await Promise.all(waiting)).map(({ kind }) => kind).sort()
  expect(kinds).toEqual(['claimed', 'stored', 'stored'])
})

test('who stops waiting for a key leaves with its own reason', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const first = await ledger.claimKey(requestOf(), never)
  const caller = new AbortController()
  const waiting = ledger.claimKey(requestOf(), caller.signal)
  caller.abort(new Error('the caller has gone'))
  await expect(waiting).rejects.toThrow('the caller has gone')
  expect(first.kind).toBe('claimed')
})

test('another request under a key is a conflict, in flight and stored', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const other = requestOf({ requestDigest: randomHex() })
  const claimed = await ledger.claimKey(requestOf(), never)
  await expect(ledger.claimKey(other, never)).rejects.toMatchObject({ code: 'idempotency_conflict' })
  if (claimed.kind === 'claimed') claimed.key[Symbol.dispose]()
  await runKeyed(ledger, answerOf())
  await expect(ledger.claimKey(other, never)).rejects.toMatchObject({ code: 'idempotency_conflict' })
})

test('keys of another payer or deployment are other keys', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  await runKeyed(ledger, answerOf())
  expect((await ledger.claimKey(requestOf({ payer: addressOf(9) }), never)).kind).toBe('claimed')
  expect((await ledger.claimKey(requestOf({ deployment: randomHex() }), never)).kind).toBe('claimed')
})

test('an answer too large to keep is gone, and its call is not charged again', async () => {
  using dir = createTempDir()
  await using ledger = await openTestLedger(dir.path)
  const callId = await runKeyed(ledger, answerOf(limits.idempotentAnswerBytesMax + 1))
  await expect(ledger.claimKey(requestOf(), never)).rejects.toMatchObject({
    code: 'idempotency_answer_gone',
    details: { callId },
  })
})

test('after a day a key is new', async () => {
  using dir = createTempDir()
  const clock = createTestClock()
  await using ledger = await openTestLedger(dir.path, clock)
  await runKeyed(ledger, answerOf())
  await clock.advance(limits.idempotentAnswerAgeMsMax - 1)
  expect((await ledger.claimKey(requestOf(), never)).kind).toBe('stored')
  await clock.advance(1)
  const again = await runKeyed(ledger, answerOf(9))
  expect(await ledger.claimKey(requestOf(), never)).toMatchObject({ kind: 'stored', callId: again })
})
