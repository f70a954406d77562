import { expect, test } from 'vitest'
import { createSingleFlight } from './single-flight.ts'

const { signal } = new AbortController()

test('callers at the same time share one piece of work, later ones start another', async () => {
  const flight = createSingleFlight<number>()
  let runs = 0
  const work = async () => {
    runs += 1
    return runs
  }
  expect(await Promise.all([flight.join('a', work, signal), flight.join('a', work, signal)])).toEqual([1, 1])
  expect(await flight.join('a', work, signal)).toBe(2)
})

test('different keys do not share', async () => {
  const flight = createSingleFlight<string>()
  const results = ['a', 'b'].map((key) => flight.join(key, async () => key, signal))
  expect(await Promise.all(results)).toEqual(['a', 'b'])
})

test('a failure reaches all who wait, and is not remembered', async () => {
  const flight = createSingleFlight<string>()
  const fail = () => Promise.reject(new Error('no'))
  const waiting = [flight.join('a', fail, signal), flight.join('a', fail, signal)]
  expect((await Promise.allSettled(waiting)).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await flight.join('a', async () => 'yes', signal)).toBe('yes')
})

test('work stops when the last caller has gone, and whoever comes then starts anew', async () => {
  const flight = createSingleFlight<string>()
  const leaving = [new AbortController(), new AbortController()]
  let workSignal: AbortSignal | undefined
  const work = (s: AbortSignal) => {
    workSignal = s
    return new Promise<string>((_, reject) => s.addEventListener('abort', () => reject(s.reason)))
  }
  const waiting = leaving.map((caller) => flight.join('a', work, caller.signal))
  const settled = Promise.allSettled(waiting)
  leaving[0]!.abort(new Error('gone'))
  await expect(waiting[0]).rejects.toThrow('gone')
  expect(workSignal?.aborted).toBe(false)
  leaving[1]!.abort(new Error('gone'))
  await settled
  expect(workSignal?.aborted).toBe(true)
  expect(await flight.join('a', async () => 'new', signal)).toBe('new')
})
