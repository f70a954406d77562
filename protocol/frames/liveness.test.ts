import { expect, test } from 'vitest'
import { createMuxPair, createRecorder } from '../../test/support/mux-pair.ts'
import { limits } from '../limits.ts'
import { createLiveness } from './liveness.ts'

/** A connection that is looked at every second, 25 ms away. @returns the second in which it was found dead */
async function watch(
  { seconds, hasRequest }: { seconds: number; hasRequest: boolean },
  prepare: (at: { half: (second: number) => void; suspect: (second: number) => void }) => void = () => {},
): Promise<{ deadAt: number | undefined; pings: number }> {
  const pair = createMuxPair({
    delayMs: 25,
    onStream(stream) {
      stream.accept()
      return createRecorder()
    },
  })
  let pings = 0
  let deadAt: number | undefined
  const { gateway } = pair
  const mux = {
    ping() {
      pings++
      gateway.ping()
    },
    get pingsUnanswered() {
      return gateway.pingsUnanswered
    },
    get streams() {
      return gateway.streams
    },
    get heardAtMs() {
      return gateway.heardAtMs
    },
  }
  const clock = { monotonicMs: pair.nowMs }
  const liveness = createLiveness({ mux, clock, onDead: () => (deadAt = Math.round(pair.nowMs() / 1000)) })
  if (hasRequest) gateway.openWhole(createRecorder(), 'x')
  for (let second = 1; second <= seconds; second++) pair.at(second * 1000, () => liveness.check())
  prepare({
    // What leaves arrives nowhere, and nobody says so.
    half(second) {
      pair.at(second * 1000 - 1, () => {
        pair.wires.toProvider.isStuck = true
      })
    },
    suspect: (second) => pair.at(second * 1000 - 1, () => liveness.suspect()),
  })
  await pair.run()
  return { deadAt, pings }
}

const ping = limits.tunnelPingIntervalMs / 1000
const silence = limits.tunnelSilenceMs / 1000

test('a connection without requests is pinged every 20 s, and stays as long as that is answered', async () => {
  expect(await watch({ seconds: 10 * ping, hasRequest: false })).toEqual({ deadAt: undefined, pings: 11 })
})

test('one that is half open is given up after two pings', async () => {
  const { deadAt } = await watch({ seconds: 10 * ping, hasRequest: false }, ({ half }) => half(ping))
  expect(deadAt).toBe(3 * ping)
})

test('with a request in flight it takes ten seconds', async () => {
  const { deadAt } = await watch({ seconds: 60, hasRequest: true }, ({ half }) => half(1))
  expect(deadAt).toBeLessThanOrEqual(2 * silence + 1)
})

test('an answer that takes long is waited for, as long as the other end says that it is there', async () => {
  const { deadAt, pings } = await watch({ seconds: 300, hasRequest: true })
  expect(deadAt).toBe(undefined)
  expect(pings).toBeLessThan(80)
})

test('after a sleep a connection has two seconds to answer', async () => {
  const wake = limits.tunnelWakeTimeoutMs / 1000
  const gone = await watch({ seconds: 60, hasRequest: false }, ({ half, suspect }) => {
    half(5)
    suspect(6)
  })
  expect(gone.deadAt).toBeLessThanOrEqual(6 + wake)
  expect((await watch({ seconds: 60, hasRequest: false }, ({ suspect }) => suspect(6))).deadAt).toBe(
    undefined,
  )
})
