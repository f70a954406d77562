import { expect, test } from 'vitest'
import type { Spend } from '../limits/spend-book.ts'
import { relayQuotas } from './relay-quotas.ts'

test('what one process lets through, all others and the other gateways take off once', () => {
  const charged: Spend[] = []
  const toldInside: Spend[] = []
  let taken: Spend[] = [['client', '1.2.3.4', 2]]
  const relay = relayQuotas({
    own: () => ({
      takeSpent: () => taken.splice(0),
      charge: (spends) => void charged.push(...spends),
    }),
    tellInside: (spends) => void toldInside.push(...spends),
    onUntold: () => expect.unreachable(),
  })
  // The first process took two, which its further ones and the other gateways are to hear of.
  expect(relay.inside.takeSpent()).toEqual([['client', '1.2.3.4', 2]])
  // A further one took three; who tells the other further ones is `openWorkers`.
  relay.inside.charge([
    ['client', '1.2.3.4', 3],
    ['provider', '0xa1', 1],
  ])
  expect(charged).toEqual([
    ['client', '1.2.3.4', 3],
    ['provider', '0xa1', 1],
  ])
  expect(relay.outside.takeSpent()).toEqual([
    ['client', '1.2.3.4', 5],
    ['provider', '0xa1', 1],
  ])
  expect(relay.outside.takeSpent()).toEqual([])

  // What another gateway took counts in all processes here, and is not told back.
  taken = []
  charged.length = 0
  relay.outside.charge([['deployment', 'cid', 7]])
  expect(charged).toEqual([['deployment', 'cid', 7]])
  expect(toldInside).toEqual([['deployment', 'cid', 7]])
  expect(relay.inside.takeSpent()).toEqual([])
  expect(relay.outside.takeSpent()).toEqual([])
})
