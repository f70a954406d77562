import { once } from 'node:events'
import { expect, test } from 'vitest'
import type { DialRefusals } from '../../protocol/http/dial-checked.ts'
import { createHopRule, dialHop, type MayHop } from './hop-rule.ts'

test('without networks a gateway may be anywhere, but on this machine only where all are', () => {
  const far = createHopRule({ hopHost: '10.0.0.1' })
  expect(['10.0.0.2', '2001:db8::1', '127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'].map(far)).toEqual([
    true,
    true,
    false,
    false,
    false,
    false,
  ])
  expect(['127.0.0.1', '10.0.0.2'].map(createHopRule({ hopHost: '127.0.0.1' }))).toEqual([true, true])
})

test('with networks a gateway is in one of them', () => {
  const mayHop = createHopRule({ hopHost: '127.0.0.1', hopNetworks: ['10.0.0.0/24', 'fd00:1::/64'] })
  expect(['10.0.0.9', 'fd00:1::9', '10.0.1.9', '127.0.0.1', '192.168.0.1'].map(mayHop)).toEqual([
    true,
    true,
    false,
    false,
    false,
  ])
})

test.each([
  ['an address', '10.0.1.1', []],
  ['a name that leads elsewhere', 'gw.internal', ['10.0.1.1']],
  ['a name with one address too many', 'gw.internal', ['10.0.0.1', '10.0.1.1']],
  ["a cloud's keys, whatever the rule says", '169.254.169.254', []],
])('what the rule does not take is not dialled: %s', async (_what, hostname, addresses) => {
  const blocked: string[] = []
  const refusals: DialRefusals = {
    blocked(host) {
      blocked.push(host)
      return new Error('blocked')
    },
    tooSlow: () => new Error('slow'),
  }
  const isKeys = hostname.startsWith('169.')
  const mayHop: MayHop = isKeys
    ? () => true
    : createHopRule({ hopHost: '10.0.0.1', hopNetworks: ['10.0.0.0/24'] })
  const socket = dialHop(
    { isSecure: false, hostname, port: 80 },
    {
      lookup: (_host, answer) =>
        answer(
          null,
          addresses.map((address) => ({ address, family: 4 })),
        ),
      mayHop,
    },
    refusals,
  )
  const [error] = (await once(socket, 'error').catch((thrown) => [thrown])) as [Error]
  expect([error.message, blocked]).toEqual(['blocked', [hostname]])
})
