import { expect, test } from 'vitest'
import { createTestClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { until } from '../../../test/support/tunnels.ts'
import type { Cell } from './cell.ts'
import { createSandbox } from './sandbox.ts'
import { createZygotes } from './zygotes.ts'

const never = new AbortController().signal

test('what was taken is replaced, and its taker has the processor for itself before', async () => {
  await using world = await setup()
  const { zygotes, clock, started } = world
  zygotes.refill()
  await until(() => started.length === 1)
  const first = await started[0]!
  // It is full now, and knows.
  await oneTurn()
  await using taken = await zygotes.take(never)
  expect(taken).toBe(first)
  zygotes.refill(100)
  await until(() => clock.sleepers === 1)
  await clock.advance(99)
  expect(started.length).toBe(1)
  await clock.advance(1)
  await until(() => started.length === 2)
  await started[1]
})

test('where few are left, the first half is made up for whoever rests meanwhile', async () => {
  await using world = await setup({ count: 3 })
  const { zygotes, clock, started } = world
  zygotes.refill()
  await until(() => started.length === 3)
  await Promise.all(started)
  await oneTurn()
  await using taken = new AsyncDisposableStack()
  for (let i = 0; i < 3; i++) taken.use(await zygotes.take(never))
  zygotes.refill(100)
  await until(() => clock.sleepers === 1)
  zygotes.refill(100)
  await clock.advance(100)
  await until(() => clock.sleepers === 1)
  expect(started.length).toBe(5)
  await clock.advance(100)
  await until(() => started.length === 6)
})

test('who finds none waiting has one started, and one that ended while it waited is nobody’s', async () => {
  await using world = await setup()
  const { zygotes, started } = world
  zygotes.refill()
  await until(() => started.length === 1)
  const waited = await started[0]!
  waited.kill()
  await waited.exited
  await using taken = await zygotes.take(never)
  expect(started.length).toBe(2)
  expect(taken).toBe(await started[1])
})

test('whoever shuts it down does not wait until its taker has rested', async () => {
  const world = await setup()
  world.zygotes.refill(100)
  await world[Symbol.asyncDispose]()
  expect(world.started.length).toBe(0)
})

const oneTurn = () => new Promise((resolve) => setImmediate(resolve))

/** Processes that wait for input, without walls. */
async function setup({ count } = { count: 1 }) {
  await using starting = new AsyncDisposableStack()
  const [clock, log] = [createTestClock(), createTestLog()]
  const trialPath = '/bin/cat'
  const sandbox = starting.use(await createSandbox({ log }, { mode: 'bare', trialPath }, never))
  const executable = await sandbox.prepare(trialPath, never)
  const started: Promise<Cell>[] = []
  const spawn = (signal: AbortSignal) => {
    const cell = sandbox.spawn({ executable, args: () => [] }, signal)
    started.push(cell)
    return cell
  }
  const zygotes = starting.use(createZygotes({ spawn, clock, log }, { count }))
  const parts = starting.move()
  return { zygotes, clock, started, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
