import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getAddress, zeroAddress } from 'viem'
import { joinCluster } from '../../gateway/cluster/cluster.ts'
import { createGateway } from '../../gateway/gateway.ts'
import { createTunnelHub } from '../../gateway/tunnels/tunnel-hub.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createLog } from '../../protocol/base/log.ts'
import { tuneHeap } from '../../protocol/base/tune-heap.ts'
import { parseName } from '../../protocol/name.ts'
import { marketDomain } from '../../protocol/typed-data.ts'

/**
 * A gateway as it is, but for its names: `a<40 hex digits>` is the provider with that address, without a chain, and so is
 * that with a number behind it, `…n7`. It says its port, and the port at which it tells its memory after a collection (`--expose-gc`).
 *
 * @param argv - the port by which providers dial it, where that is not its own; the NATS server of its cluster, if it has one
 */
tuneHeap()
const [dialledAt = '', natsUrl = ''] = process.argv.slice(2)
const deps = { clock: systemClock, log: createLog({ level: 'warn' }) }
const market = { chainId: 31_337, escrow: zeroAddress }

const gateway = await createGateway(
  {
    ...deps,
    names: {
      async readName(name) {
        const [, digits] = /^a([0-9a-f]{40})(?:n\d)?$/.exec(name) ?? []
        if (digits === undefined) return undefined
        const address = getAddress(`0x${digits}`)
        const facts = { name: parseName(name), owner: address, resolver: address, blockNumber: 1n }
        return {
          kind: 'provider',
          ...facts,
          address,
          server: 'ws://localhost/_/tunnel',
          publicKey: new Uint8Array(),
        }
      },
      watchNames: () => ({ [Symbol.asyncDispose]: async () => undefined }),
    },
    openTunnels: (facts) =>
      createTunnelHub({
        ...deps,
        ...facts,
        ...(dialledAt !== '' && { gatewayHost: `127.0.0.1:${dialledAt}` }),
        domain: marketDomain(market),
      }),
    ...(natsUrl !== '' && {
      async joinCluster({ tunnels, ...facts }) {
        const { openNatsStore } = await import('../../gateway/cluster/nats-store.ts')
        const store = await openNatsStore(deps, { servers: [natsUrl] })
        const place = { hopHost: '127.0.0.1', hopPort: 0, homes: 1 }
        return joinCluster({ ...deps, store, tunnels }, { ...facts, ...place })
      },
    }),
  },
  {
    host: '127.0.0.1',
    port: 0,
    logsCalls: false,
    info: { ...market, registry: zeroAddress, usdc: zeroAddress, peers: [], version: 'bench' },
  },
)
const memory = createServer((_, response) => {
  globalThis.gc?.()
  response.end(JSON.stringify({ ...process.memoryUsage() }))
}).listen(0, '127.0.0.1', () => {
  const { port: memoryPort } = memory.address() as AddressInfo
  console.log(JSON.stringify({ port: gateway.port, domain: gateway.domain, memoryPort }))
})
process.once('SIGTERM', () => process.exit())
