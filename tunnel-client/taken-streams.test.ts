import { expect, test } from 'vitest'
import { limits } from '../protocol/limits.ts'
import { createTakenStreams } from './taken-streams.ts'

function setup() {
  const taken = createTakenStreams()
  const cuts: string[] = []
  const remember = (tunnelId: string, lastPeerStreamId: number) =>
    taken.remember({ tunnelId, lastPeerStreamId, cut: () => void cuts.push(tunnelId) })
  return { taken, cuts, remember }
}

test('a request up to the last number of its connection may have been taken, one beyond it was not', () => {
  const { taken, remember } = setup()
  remember('a', 7)
  expect([6, 7, 8].map((streamId) => taken.mayHaveTaken({ tunnelId: 'a', streamId }))).toEqual([
    true,
    true,
    false,
  ])
})

test('a connection that the gateway holds for lost is cut before anybody looks at its number', () => {
  const { taken, cuts } = setup()
  let lastPeerStreamId = 1
  taken.remember({
    tunnelId: 'a',
    get lastPeerStreamId() {
      return lastPeerStreamId
    },
    cut() {
      cuts.push('a')
      lastPeerStreamId = 2
    },
  })
  expect(taken.mayHaveTaken({ tunnelId: 'a', streamId: 2 })).toBe(true)
  expect(cuts).toEqual(['a'])
})

test('of a connection that nobody remembers, anything may have been taken', () => {
  const { taken, remember } = setup()
  expect(taken.mayHaveTaken({ tunnelId: 'a', streamId: 1 })).toBe(true)
  for (let index = 0; index <= limits.tunnelsRememberedMax; index++) remember(String(index), 0)
  expect(taken.mayHaveTaken({ tunnelId: '0', streamId: 1 })).toBe(true)
  expect(taken.mayHaveTaken({ tunnelId: '1', streamId: 1 })).toBe(false)
})
