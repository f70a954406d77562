import { once } from 'node:events'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { frontRulesDefault } from '../../gateway/limits/front-rules.ts'
import { openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'

const rules = { ...frontRulesDefault, limits: { ...frontRulesDefault.limits, exempt: [] } }

/** Opens connections in turn, so that the queue of the listener holds them. */
async function crowd(
  port: number,
  count: number,
  localAddress = '127.0.0.1',
): Promise<{ readonly open: Set<Socket> }> {
  const open = new Set<Socket>()
  for (let left = count; left > 0; left -= 200) {
    const batch = Array.from({ length: Math.min(200, left) }, () =>
      connect({ port, host: '127.0.0.1', localAddress }),
    )
    await Promise.all(
      batch.map((socket) => {
        socket.on('error', () => undefined).resume()
        socket.on('close', () => open.delete(socket))
        return Promise.race([once(socket, 'connect').then(() => open.add(socket)), once(socket, 'close')])
      }),
    )
  }
  return { open }
}

test('of two thousand connections that say nothing 256 stay, and everybody else is served', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  await using front = await openGatewayFront({ alice: provider.url }, { rules })
  const { port } = front.gateway
  const { open } = await crowd(port, 2_000)
  await expect.poll(() => open.size).toBe(rules.limits.connectionsPerClientMax)

  const other = request({
    host: '127.0.0.1',
    port,
    localAddress: '127.0.0.2',
    headers: { host: 'alice.localhost' },
  })
  const [answer] = await once(other.end(), 'response')
  expect(answer.statusCode).toBe(200)
  answer.resume()
  for (const socket of open) socket.destroy()
})

test('connections that say nothing, from so many addresses that each has few, keep nobody out either', async () => {
  await using provider = await openOrigin((_, response) => response.end('ok'))
  const own = { ...rules, limits: { ...rules.limits, connectionsPerClientMax: 40 } }
  await using front = await openGatewayFront({ alice: provider.url }, { rules: own, connectionsMax: 400 })
  const { port } = front.gateway
  const crowds = Array.from({ length: 20 }, (_, n) => crowd(port, 40, `127.0.1.${n + 1}`))
  const open = (await Promise.all(crowds)).map(({ open }) => open)
  const left = () => open.reduce((sum, { size }) => sum + size, 0)
  await expect.poll(left).toBeLessThanOrEqual(400)
  for (let n = 0; n < 20; n++) {
    const outgoing = request({ host: '127.0.0.1', port, agent: false, headers: { host: 'alice.localhost' } })
    const [answer] = await once(outgoing.end(), 'response')
    expect(answer.statusCode).toBe(200)
    answer.resume()
  }
  for (const sockets of open) for (const socket of sockets) socket.destroy()
})
