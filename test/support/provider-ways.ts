import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Address } from 'viem'
import { openHopListener } from '../../gateway/cluster/hop-listener.ts'
import { createHops } from '../../gateway/cluster/hops.ts'
import { createMembers } from '../../gateway/cluster/members.ts'
import { listenForHops } from '../../gateway/workers/hop.ts'
import { createSiblings } from '../../gateway/workers/siblings.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { lookupWithSystem } from '../../protocol/http/dial-checked.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { forwardToService } from '../../tunnel-client/index.ts'
import { accountOf, type GatewayFront, openGatewayFront } from './gateway-front.ts'
import { setupTunnel } from './tunnels.ts'

/** How a gateway reaches a provider: what holds for one way holds for the other. */
export const ways = ['to its own address', 'through its tunnel'] as const
/** Where the tunnel ends in another process, or at another gateway. */
const hopWays = ['by another process of the gateway', 'by another gateway of the cluster'] as const
export const allWays = [...ways, ...hopWays] as const
export type Way = (typeof allWays)[number]

/** A gateway with one provider, alice, whose server listens on this port of this machine. */
export async function openFront(way: Way, port: number): Promise<GatewayFront> {
  if (way === 'to its own address') return openGatewayFront({ alice: `http://127.0.0.1:${port}` })
  await using parts = new AsyncDisposableStack()
  const service = new URL(`http://127.0.0.1:${port}`)
  const forwarder = parts.use(forwardToService({ clock: systemClock }, { service }))
  const tunnel = parts.use(await setupTunnel(forwarder.serve, { sockets: 1 }))
  const front = await openGatewayFront({ alice: 'ws://localhost/_/tunnel' })
  const upstream = tunnel.gateway.hub.upstreamFor(tunnel.account.address)
  if (upstream) front.tunnels.set(accountOf('alice'), await openHop(way, upstream, parts))
  const open = parts.move()
  const close = front[Symbol.asyncDispose]
  return Object.assign(front, {
    async [Symbol.asyncDispose]() {
      await close()
      await open.disposeAsync()
    },
  })
}

/** A way to what reaches a provider elsewhere. */
async function openHop(way: Way, upstream: Upstream, parts: AsyncDisposableStack): Promise<Upstream> {
  const provider = accountOf('alice')
  const tunnels = { upstreamFor: (account: Address) => (account === provider ? upstream : undefined) }
  if (way === 'by another process of the gateway') {
    const dir = await mkdtemp(join(tmpdir(), 'hop-'))
    parts.defer(() => rm(dir, { recursive: true }))
    const path = join(dir, 'hop.sock')
    parts.use(await listenForHops({ tunnels, serveControl: undefined }, path))
    const siblings = parts.use(createSiblings())
    siblings.set([{ path, providers: [provider] }])
    return siblings.upstreamFor(provider) ?? upstream
  }
  if (way === 'by another gateway of the cluster') {
    const secret = randomBytes(32)
    const clock = systemClock
    const listener = parts.use(
      await openHopListener(
        { clock, log: createTestLog(), secret, localTunnel: tunnels.upstreamFor },
        { host: '127.0.0.1', port: 0, via: 'other' },
      ),
    )
    const members = createMembers({ clock, log: createTestLog() })
    const facts = { hopUrl: listener.url.href, tunnel: 'ws://localhost/_/tunnel' }
    members.hear('other', facts, { isNew: true })
    members.route(provider, 'other', true)
    const hops = parts.use(
      createHops({ clock, members, secret, lookup: lookupWithSystem, mayHop: () => true }),
    )
    return hops.upstreamFor(provider) ?? upstream
  }
  return upstream
}
