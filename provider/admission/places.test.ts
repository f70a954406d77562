import fc from 'fast-check'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createPlaces, type Place, type PlacesOptions, type PlaceWish } from './places.ts'

const payers = [1, 2, 3].map((n) => getAddress(`0x${String(n).repeat(40)}`))
const [alice, bob] = payers as [PlaceWish['payer'], PlaceWish['payer']]
const never = new AbortController().signal
const wish = (changes: Partial<PlaceWish> = {}): PlaceWish => ({
  payer: alice,
  deployment: 'one',
  memoryMiB: 100,
  cores: 1,
  concurrency: 10,
  ...changes,
})

const giving = (memoryMiB: number, cores = Number.POSITIVE_INFINITY) => ({ memoryMiB, cores })

function setup(options: Partial<PlacesOptions> = {}) {
  const clock = createTestClock()
  return { clock, places: createPlaces({ clock }, { capacity: giving(1_000), waitMsMax: 5_000, ...options }) }
}

/** Lets everything that was decided take effect. */
const settle = () => new Promise((resolve) => setImmediate(resolve))

test('a deployment has as many calls in flight as it says; the next one waits for one to end', async () => {
  const { places } = setup()
  const first = places.take(wish({ concurrency: 1 }), never) as Place
  const second = places.take(wish({ concurrency: 1 }), never)
  expect(second).toBeInstanceOf(Promise)
  expect(places.status()).toMatchObject({ calls: 1, waiting: 1, memoryMiB: 100, cores: 1 })
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  using _place = await second
  expect(places.status()).toMatchObject({ calls: 1, waiting: 0 })
})

test('who waits for too long is told what was lacking, and when to come back', async () => {
  const { clock, places } = setup({ capacity: giving(150) })
  using _held = places.take(wish({ concurrency: 1 }), never) as Place
  const same = Promise.resolve(places.take(wish({ concurrency: 1 }), never))
  const other = Promise.resolve(places.take(wish({ deployment: 'two' }), never))
  const refused = Promise.all([
    expect(same).rejects.toMatchObject({ code: 'concurrency_reached', details: { retryAfterSeconds: 1 } }),
    expect(other).rejects.toMatchObject({ code: 'provider_busy', details: { retryAfterSeconds: 1 } }),
  ])
  await clock.advance(5_000)
  await refused
  expect(places.status()).toMatchObject({ calls: 1, waiting: 0 })
  expect(clock.sleepers).toBe(0)
})

test('a full queue refuses at once, for one payer before the others', async () => {
  const { places } = setup({ callsMax: 1, waitingMax: 3, waitingPerPayerMax: 2 })
  const gone = new AbortController()
  const held = places.take(wish(), never) as Place
  const waiting = [alice, alice, bob].map((payer) =>
    Promise.resolve(places.take(wish({ payer }), gone.signal)),
  )
  const left = Promise.all(waiting.map((each) => expect(each).rejects.toThrow('gone')))
  await expect(places.take(wish(), never)).rejects.toMatchObject({ code: 'provider_busy' })
  await expect(places.take(wish({ payer: bob }), never)).rejects.toMatchObject({ code: 'provider_busy' })
  gone.abort(new Error('gone'))
  await left
  held[Symbol.dispose]()
  expect(places.status()).toMatchObject({ calls: 0, waiting: 0 })
})

test('a payer that floods a full provider delays another by one call', async () => {
  const { places } = setup({ callsMax: 1 })
  const order: string[] = []
  const held = places.take(wish(), never) as Place
  const run = async (name: string, payer = alice) => {
    using _place = await places.take(wish({ payer }), never)
    order.push(name)
    await settle()
  }
  const all = ['a1', 'a2', 'a3', 'a4'].map((name) => run(name))
  all.push(run('b1', bob))
  held[Symbol.dispose]()
  await Promise.all(all)
  expect(order).toEqual(['a1', 'b1', 'a2', 'a3', 'a4'])
})

test('a program larger than all that is given away never fits, and is told so; more capacity lets the waiting in', async () => {
  const { places } = setup({ capacity: giving(100) })
  expect(() => places.take(wish({ memoryMiB: 101 }), never)).toThrow(
    expect.objectContaining({
      code: 'limits_too_high',
      details: { capacity: { memoryMiB: 100, cores: 2 ** 16 } },
    }),
  )
  using _held = places.take(wish(), never) as Place
  const waiting = places.take(wish({ deployment: 'two' }), never)
  places.setCapacity(giving(200))
  using _second = await waiting
  expect(places.status()).toMatchObject({ calls: 2, memoryMiB: 200 })
})

test('whatever comes, leaves and ends: no bound is passed, nobody waits who would fit, and in the end all is free', async () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('take' as const),
      payer: fc.constantFrom(...payers),
      deployment: fc.constantFrom('one', 'two', 'three'),
    }),
    fc.record({ kind: fc.constantFrom('end' as const, 'leave' as const), pick: fc.nat(20) }),
  )
  const needs = { one: 100, two: 200, three: 300 } as const
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { places } = setup({ capacity: giving(350, 2), callsMax: 4 })
      const running: { wish: PlaceWish; place: Place }[] = []
      const waiting: { wish: PlaceWish; gone: AbortController }[] = []
      const check = () => {
        const count = (name: string) => running.filter((each) => each.wish.deployment === name).length
        const memoryMiB = (['one', 'two', 'three'] as const).reduce(
          (sum, name) => sum + (count(name) ? needs[name] : 0),
          0,
        )
        const cores = Object.keys(needs).filter((name) => count(name) > 0).length
        expect(places.status()).toEqual({
          calls: running.length,
          waiting: waiting.length,
          memoryMiB,
          cores,
          capacity: giving(350, 2),
        })
        expect(memoryMiB).toBeLessThanOrEqual(350)
        expect(cores).toBeLessThanOrEqual(2)
        expect(running.length).toBeLessThanOrEqual(4)
        for (const { wish: wanted } of waiting) {
          const isOpen = count(wanted.deployment) > 0
          const hasRoom = isOpen || (memoryMiB + wanted.memoryMiB <= 350 && cores + 1 <= 2)
          expect(running.length < 4 && count(wanted.deployment) < wanted.concurrency && hasRoom).toBe(false)
        }
      }
      for (const each of steps) {
        if (each.kind === 'take') {
          const { payer, deployment } = each
          const wanted = {
            payer,
            deployment,
            memoryMiB: needs[deployment as keyof typeof needs],
            cores: 1,
            concurrency: 2,
          }
          const gone = new AbortController()
          const taken = places.take(wanted, gone.signal)
          if (!(taken instanceof Promise)) running.push({ wish: wanted, place: taken })
          else {
            const entry = { wish: wanted, gone }
            waiting.push(entry)
            const forget = () => waiting.splice(waiting.indexOf(entry), 1)
            void taken.then(
              (place) => {
                forget()
                running.push({ wish: wanted, place })
              },
              () => forget(),
            )
          }
        } else if (each.kind === 'end')
          running.splice(each.pick % (running.length || 1), 1)[0]?.place[Symbol.dispose]()
        else waiting[each.pick % (waiting.length || 1)]?.gone.abort(new Error('gone'))
        await settle()
        check()
      }
      for (const { gone } of waiting) gone.abort(new Error('gone'))
      await settle()
      while (running.length > 0) running.pop()?.place[Symbol.dispose]()
      expect(places.status()).toMatchObject({ calls: 0, waiting: 0, memoryMiB: 0 })
    }),
    { numRuns: 200 },
  )
})
