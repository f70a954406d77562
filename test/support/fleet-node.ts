import { createInterface } from 'node:readline'
import { getAddress } from 'viem'
import { joinCluster } from '../../gateway/cluster/cluster.ts'
import { openNatsStore } from '../../gateway/cluster/nats-store.ts'
import { createGateway } from '../../gateway/gateway.ts'
import { type FrontRules, frontRulesDefault } from '../../gateway/limits/front-rules.ts'
import { createTunnelHub } from '../../gateway/tunnels/tunnel-hub.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createLog } from '../../protocol/base/log.ts'
import { parseName } from '../../protocol/name.ts'
import { marketDomain } from '../../protocol/typed-data.ts'

/**
 * One gateway of a fleet as a process of its own, which a test may kill: all providers that it knows are in its argument,
 * and each line of its standard input replaces the list of the others, or the rules; `metrics` asks what it counted.
 */
export interface FleetNodeInput {
  readonly providers: Readonly<Record<string, string>>
  readonly chainId: number
  readonly escrow: string
  /** Of NATS; absent for a fleet without it. */
  readonly cluster?: string
  readonly homes?: number
}

/** What is to differ from the rules that hold where nobody says anything. */
export interface FleetRules {
  readonly limits?: Partial<FrontRules['limits']>
  readonly deny?: Partial<FrontRules['deny']>
}

const input = JSON.parse(process.argv[2] ?? '{}') as FleetNodeInput
const log = createLog({ level: 'warn' })
const clock = systemClock
const zero = getAddress(input.escrow)
let others: readonly string[] = []

const { cluster } = input
let hopPort: number | undefined
const gateway = await createGateway(
  {
    clock,
    log,
    names: {
      async readName(name) {
        const account = input.providers[name]
        if (account === undefined) return undefined
        const address = getAddress(account)
        const server = 'ws://localhost/_/tunnel'
        const facts = {
          owner: address,
          resolver: address,
          address,
          publicKey: new Uint8Array(),
          blockNumber: 1n,
        }
        return { kind: 'provider', name: parseName(name), server, ...facts }
      },
      watchNames: () => ({ [Symbol.asyncDispose]: async () => undefined }),
    },
    openTunnels: (facts) =>
      createTunnelHub({
        clock,
        log,
        domain: marketDomain({ chainId: input.chainId, escrow: zero }),
        ...facts,
      }),
    ...(cluster !== undefined && {
      async joinCluster(facts) {
        const joined = await joinCluster(
          {
            clock,
            log,
            store: await openNatsStore({ clock, log }, { servers: [cluster] }),
            tunnels: facts.tunnels,
          },
          { ...facts, hopHost: '127.0.0.1', hopPort: 0, homes: input.homes ?? 2 },
        )
        hopPort = joined.hopPort
        return joined
      },
    }),
  },
  {
    host: '127.0.0.1',
    port: 0,
    logsCalls: false,
    otherGateways: () => others,
    info: { chainId: input.chainId, escrow: zero, registry: zero, usdc: zero, peers: [], version: '0.0.0' },
  },
)
console.log(JSON.stringify({ port: gateway.port, tunnel: gateway.info.tunnel, hopPort }))
for await (const line of createInterface(process.stdin)) {
  const said = JSON.parse(line) as 'metrics' | string[] | FleetRules
  if (said === 'metrics') {
    console.log(JSON.stringify((await gateway.metrics.read()).text))
    continue
  }
  if (Array.isArray(said)) others = said
  else {
    const { limits, deny } = frontRulesDefault
    gateway.guard.change({
      ...frontRulesDefault,
      limits: { ...limits, ...said.limits },
      deny: { ...deny, ...said.deny },
    })
  }
  console.log('told')
}
