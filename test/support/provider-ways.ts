import { systemClock } from '../../protocol/base/clock.ts'
import { forwardToService } from '../../tunnel-client/index.ts'
import { accountOf, type GatewayFront, openGatewayFront } from './gateway-front.ts'
import { setupTunnel } from './tunnels.ts'

/** How a gateway reaches a provider: what holds for one way holds for the other. */
export const ways = ['to its own address', 'through its tunnel'] as const
export type Way = (typeof ways)[number]

/** A gateway with one provider, alice, whose server listens on this port of this machine. */
export async function openFront(way: Way, port: number): Promise<GatewayFront> {
  if (way === 'to its own address') return openGatewayFront({ alice: `http://127.0.0.1:${port}` })
  await using parts = new AsyncDisposableStack()
  const service = new URL(`http://127.0.0.1:${port}`)
  const forwarder = parts.use(forwardToService({ clock: systemClock }, { service }))
  const tunnel = parts.use(await setupTunnel(forwarder.serve, { sockets: 1 }))
  const front = await openGatewayFront({ alice: 'ws://localhost/_/tunnel' })
  const upstream = tunnel.gateway.hub.upstreamFor(tunnel.account.address)
  if (upstream) front.tunnels.set(accountOf('alice'), upstream)
  const open = parts.move()
  const close = front[Symbol.asyncDispose]
  return Object.assign(front, {
    async [Symbol.asyncDispose]() {
      await close()
      await open.disposeAsync()
    },
  })
}
