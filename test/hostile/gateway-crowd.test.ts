import { once } from 'node:events'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { frontRulesDefault } from '../../gateway/limits/front-rules.ts'
import { openGatewayFront } from '../support/gateway-front.ts'
import { openOrigin } from '../support/http-origin.ts'

const rules = { ...frontRulesDefault, limits: { ...frontRulesDefault.limits, exempt: [] } }

/** Opens connections in turn, so that the queue of the listener holds them. */
async function crowd(port: number, count: number): Promise<{ readonly open: Set<Socket> }> {
  const open = new Set<Socket>()
  for (let left = count; left > 0; left -= 200) {
    const batch = Array.from({ length: Math.min(200, left) }, () => connect(port, '127.0.0.1'))
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
