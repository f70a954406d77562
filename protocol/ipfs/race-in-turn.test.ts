import { describe, expect, test } from 'vitest'
import { createTestClock } from '../base/clock.ts'
import { AllAttemptsFailed, raceInTurn } from './race-in-turn.ts'

const delayMs = 1000

/** Attempts that end when the test says so, and remember whether they were told to stop. */
function setup(count: number) {
  const clock = createTestClock()
  const started: { win(value: string): void; fail(error: Error): void; isStopped(): boolean }[] = []
  const attempt = (signal: AbortSignal) => {
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    signal.addEventListener('abort', () => reject(signal.reason))
    started.push({ win: resolve, fail: reject, isStopped: () => signal.aborted })
    return promise
  }
  const stop = new AbortController()
  const race = raceInTurn(
    Array.from({ length: count }, () => attempt),
    { clock, delayMs },
    stop.signal,
  )
  return { clock, started, stop, race }
}

describe('raceInTurn', () => {
  test('asks nobody else while the first is quick', async () => {
    const { clock, started, race } = setup(3)
    started[0]!.win('first')
    expect(await race).toBe('first')
    expect([started.length, clock.sleepers]).toEqual([1, 0])
  })

  test('asks one more after each delay, takes the first answer and stops the others', async () => {
    const { clock, started, race } = setup(3)
    await clock.advance(delayMs - 1)
    expect(started).toHaveLength(1)
    await clock.advance(1)
    expect(started).toHaveLength(2)
    await clock.advance(delayMs)
    expect(started).toHaveLength(3)
    started[1]!.win('second')
    expect(await race).toBe('second')
    expect(started.map(({ isStopped }) => isStopped())).toEqual([true, true, true])
    expect(clock.sleepers).toBe(0)
  })

  test('asks the next one at once when one fails', async () => {
    const { clock, started, race } = setup(2)
    started[0]!.fail(new Error('no'))
    await clock.advance(0)
    expect(started).toHaveLength(2)
    started[1]!.win('second')
    expect(await race).toBe('second')
  })

  test('tells what each of them threw, in their order', async () => {
    const { clock, started, race } = setup(2)
    const failing = expect(race).rejects.toMatchObject({ failures: [{ message: 'a' }, { message: 'b' }] })
    await clock.advance(delayMs)
    started[1]!.fail(new Error('b'))
    started[0]!.fail(new Error('a'))
    await failing
  })

  test('with nobody to ask fails at once', async () => {
    await expect(setup(0).race).rejects.toBeInstanceOf(AllAttemptsFailed)
  })

  test('ends with the reason of its caller', async () => {
    const { clock, stop, race } = setup(2)
    const failing = expect(race).rejects.toThrow('enough')
    stop.abort(new Error('enough'))
    await failing
    expect(clock.sleepers).toBe(0)
  })
})
