import { expect, test } from 'vitest'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { connectTunnels } from '../../tunnel-client/index.ts'
import { startFleet } from '../support/fleet.ts'
import { domain, newAccount, until } from '../support/tunnels.ts'

const market = { chainId: 31_337, escrow: '0x00000000000000000000000000000000000e5c70' }

test('a provider is reached through every gateway of a fleet; one that is killed under load loses only what it was doing', async () => {
  const account = newAccount()
  await using fleet = await startFleet(3, { ...market, providers: { alice: account.address } })
  const [first, second, third] = fleet.nodes as [
    (typeof fleet.nodes)[0],
    (typeof fleet.nodes)[0],
    (typeof fleet.nodes)[0],
  ]
  let served = 0
  await using tunnel = connectTunnels(
    { clock: systemClock, random: Math.random, log: createTestLog(), proxyEnv: {} },
    { gatewayUrl: first.tunnel, name: 'alice', account, domain },
    (_, response) => {
      served++
      response.writeHead(200, ['content-type', 'text/plain'])
      response.end('served')
    },
    new AbortController().signal,
  )
  await tunnel.connected
  await until(() => tunnel.status().sockets.length === 6)
  for (const node of fleet.nodes)
    expect(await node.call('alice')).toMatchObject({ status: 200, body: 'served' })

  // Callers of all three, each asking again as soon as it has its answer; in the middle one gateway dies.
  const stop = new AbortController()
  const outcomes = new Map(fleet.nodes.map((node) => [node, { ok: 0, failed: 0 }]))
  const load = fleet.nodes.flatMap((node) =>
    Array.from({ length: 8 }, async () => {
      while (!stop.signal.aborted) {
        const { status } = await node.call('alice', { method: 'POST' })
        const outcome = outcomes.get(node)!
        if (status === 200) outcome.ok++
        else {
          outcome.failed++
          // Nobody is there any more.
          if (status === 0) return
        }
      }
    }),
  )
  const total = () => [...outcomes.values()].reduce((sum, { ok }) => sum + ok, 0)
  await until(() => [...outcomes.values()].every(({ ok }) => ok > 20))
  await first.kill()
  const before = total()
  await until(() => total() > before + 200)
  stop.abort()
  await Promise.all(load)
  // Each caller of the dead gateway lost the one request that it had there; nobody else lost any.
  expect(outcomes.get(first)?.failed).toBeLessThanOrEqual(8)
  expect(outcomes.get(second)?.failed).toBe(0)
  expect(outcomes.get(third)?.failed).toBe(0)
  expect(served).toBeGreaterThanOrEqual(total())
  expect(tunnel.status()).toMatchObject({ state: 'connected' })
  expect(tunnel.status().sockets.length).toBe(4)
})
