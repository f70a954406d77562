import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../protocol/limits.ts'
import { chooseGateways } from './choose-gateways.ts'

const first = new URL('wss://gw1.example/_/tunnel')

test('the chosen gateway and those that it lists are dialled, each once', () => {
  const listed = [
    'wss://gw1.example/_/tunnel',
    'wss://gw2.example/_/tunnel',
    'wss://gw2.example:443/_/tunnel',
  ]
  expect(chooseGateways(first, listed)).toEqual(['wss://gw1.example/_/tunnel', 'wss://gw2.example/_/tunnel'])
})

test('a gateway cannot send tunnels to weaker connections, to this machine or to a cloud’s metadata', () => {
  const listed = [
    'ws://gw2.example/_/tunnel',
    'wss://localhost/_/tunnel',
    'wss://x.localhost/_/tunnel',
    'wss://127.0.0.1/_/tunnel',
    'wss://[::1]/_/tunnel',
    'wss://169.254.169.254/_/tunnel',
    'wss://gw2.example/admin',
    'wss://gw2.example/_/tunnel?x=1',
    'wss://user@gw2.example/_/tunnel',
    'https://gw2.example/_/tunnel',
    'gw2.example',
    '',
  ]
  expect(chooseGateways(first, listed)).toEqual([first.href])
  const local = new URL('ws://localhost:8080/_/tunnel')
  expect(chooseGateways(local, ['ws://localhost:8081/_/tunnel'])).toEqual([
    local.href,
    'ws://localhost:8081/_/tunnel',
  ])
})

test('whatever is listed, there are few of them and the chosen one is the first', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          fc.webUrl(),
          fc.string(),
          fc.domain().map((host) => `wss://${host}/_/tunnel`),
        ),
      ),
      (listed) => {
        const chosen = chooseGateways(first, listed)
        expect(chosen[0]).toBe(first.href)
        expect(chosen.length).toBeLessThanOrEqual(limits.gatewaysPerTunnelMax)
      },
    ),
  )
})

test('of a hundred that are listed, as many are dialled as there may be', () => {
  const listed = Array.from({ length: 100 }, (_, n) => `wss://gw${n}.example/_/tunnel`)
  expect(chooseGateways(new URL('wss://gw.example/_/tunnel'), listed).length).toBe(
    limits.gatewaysPerTunnelMax,
  )
})
