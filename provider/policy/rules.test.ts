import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import type { Outcome } from '../../protocol/call.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import type { ProgramId } from '../../protocol/program.ts'
import type { Capacity } from '../admission/places.ts'
import type { Deployment } from '../deployments/deployments.ts'
import { emptyPolicy } from './policy.ts'
import { writePolicy } from './policy-file.ts'
import { openRules } from './rules.ts'

const cid = parseContentCid('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
const owner = getAddress(`0x${'a1'.repeat(20)}`)

const deployment: Deployment = {
  cid,
  programCid: cid,
  digest: `0x${'01'.repeat(32)}`,
  specDigest: `0x${'02'.repeat(32)}`,
  programId: `0x${'03'.repeat(32)}` as ProgramId,
  isSealed: false,
  spec: {
    version: 1,
    chainId: 1,
    escrow: owner,
    program: cid.toString(),
    runtime: 'js',
    entry: 'index.js',
    params: {},
    env: {},
    limits: { timeoutMs: 1_000, memoryMiB: 64, egress: 'none' },
    providers: [],
    payer: 'any',
    policy: { ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null }, origins: 'any' },
    terms: null,
    owner,
    createdAt: 0,
    signature: `0x${'00'.repeat(65)}`,
  },
}

async function setup() {
  await using starting = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-rules-'))
  starting.defer(() => rm(dir, { recursive: true }))
  const clock = createTestClock()
  const events: unknown[] = []
  const changes: number[] = []
  const deps = {
    clock,
    log: createTestLog(),
    programLog: { add: (_: unknown, entry: unknown) => void events.push(entry) },
    onChange: ({ capacity }: { capacity: Capacity }) => void changes.push(capacity.memoryMiB),
    peek: (text: string) => (text === cid.toString() ? deployment : undefined),
  }
  const rules = await openRules(deps, dir)
  const parts = starting.move()
  return {
    ...{ rules, clock, dir, events, changes },
    codeOf: () => rules.refusalOf(deployment)?.code,
    reopen: () => openRules(deps, dir),
    calls(outcome: Outcome, count: number) {
      for (let n = 0; n < count; n += 1) rules.countCall(deployment, outcome)
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

test('a deployment whose calls fail too often is paused for a while, and its owner is told why', async () => {
  await using world = await setup()
  const { rules, clock } = world
  world.calls('program_crashed', 100)
  expect(world.codeOf()).toBeUndefined()
  const faults = { faultPercentMax: 50, callsMin: 10, windowSeconds: 60, pauseSeconds: 30 }
  await rules.change({ kind: 'set', limits: {}, faults })

  world.calls('answered', 5)
  world.calls('caller_gone', 1)
  world.calls('platform_fault', 50)
  world.calls('payment_failed', 50)
  world.calls('program_timeout', 6)
  expect(world.codeOf()).toBeUndefined()
  world.calls('program_crashed', 1)
  const refusal = rules.refusalOf(deployment)
  expect(refusal).toMatchObject({ code: 'deployment_paused', details: { retryAfterSeconds: 30 } })
  expect(world.events).toEqual([
    { kind: 'event', text: 'The provider paused the deployment for 30 s: 7 of its last 13 calls failed.' },
  ])
  expect(rules.pausedForFaults()).toMatchObject([
    { cid: cid.toString(), reason: '7 of its last 13 calls failed' },
  ])

  await clock.advance(30_000)
  expect(world.codeOf()).toBeUndefined()
  expect(rules.pausedForFaults()).toEqual([])
  // It begins anew, and an operator can end the next pause.
  world.calls('program_crashed', 9)
  expect(world.codeOf()).toBeUndefined()
  world.calls('program_crashed', 1)
  expect(world.codeOf()).toBe('deployment_paused')
  await rules.change({ kind: 'resume', cid: cid.toString() })
  expect(world.codeOf()).toBeUndefined()
})

test('a pause for faults goes on after a restart, for as long as it was to be', async () => {
  await using world = await setup()
  const { rules, clock, dir } = world
  const faults = { faultPercentMax: 50, callsMin: 10, windowSeconds: 60, pauseSeconds: 30 }
  await rules.change({ kind: 'set', limits: {}, faults })
  world.calls('program_crashed', 10)
  await rules[Symbol.asyncDispose]()

  await clock.advance(10_000)
  const again = await world.reopen()
  expect(again.refusalOf(deployment)).toMatchObject({
    code: 'deployment_paused',
    details: { retryAfterSeconds: 20 },
  })
  expect(again.pausedForFaults()).toEqual(rules.pausedForFaults())
  await again.change({ kind: 'resume', cid: cid.toString() })
  await again[Symbol.asyncDispose]()
  expect((await world.reopen()).pausedForFaults()).toEqual([])

  // What cannot be read keeps no provider from starting.
  await writeFile(join(dir, 'pauses.json'), '{"paused":[{}]}')
  expect((await world.reopen()).pausedForFaults()).toEqual([])
})

test('a change holds at once, is told to whoever asked, and is there after a restart', async () => {
  await using world = await setup()
  const { rules, changes, dir } = world
  await rules.change({ kind: 'deny', items: [cid.toString()] })
  expect(world.codeOf()).toBe('deployment_denied')
  expect(() => rules.assertCid(cid.toString())).toThrow(
    expect.objectContaining({ code: 'deployment_denied' }),
  )
  await rules.change({ kind: 'set', limits: { memoryMiB: null }, capacityMiB: 200 })
  expect(rules.maxima).toEqual({ memoryMiB: 152 })
  expect(changes).toEqual([Number.POSITIVE_INFINITY, 200])
  const again = await world.reopen()
  expect(again.policy).toEqual(rules.policy)
  expect(again.policy.deny.specs).toEqual([deployment.specDigest])

  // Somebody edits the file; broken, it changes nothing.
  await writePolicy(dir, emptyPolicy)
  await rules.reload()
  expect(world.codeOf()).toBeUndefined()
  await writePolicy(dir, { ...emptyPolicy, capacityMiB: 1 })
  await expect(rules.reload()).rejects.toMatchObject({ code: 'config_invalid' })
  expect(rules.capacity.memoryMiB).toBe(Number.POSITIVE_INFINITY)
})

test('what a deployment gets follows the policy at once, down and up again', async () => {
  await using world = await setup()
  const { rules } = world
  const { concurrency } = rules.limitsOf(deployment.spec)
  await rules.change({ kind: 'set', limits: { concurrency: 1 } })
  expect(rules.limitsOf(deployment.spec).concurrency).toBe(1)
  await rules.change({ kind: 'set', limits: { concurrency: null } })
  expect(rules.limitsOf(deployment.spec).concurrency).toBe(concurrency)
})
