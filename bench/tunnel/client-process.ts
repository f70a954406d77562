import { zeroAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createLog } from '../../protocol/base/log.ts'
import { tuneHeap } from '../../protocol/base/tune-heap.ts'
import { marketDomain } from '../../protocol/typed-data.ts'
import { connectTunnel, forwardToService } from '../../tunnel-client/index.ts'

/** What a client is to do. */
export interface ClientOrder {
  /** Where it dials, and as which host the gateway knows itself. */
  readonly tunnelUrl: string
  readonly service: string
  /** Tunnels of as many providers; one unless it is about many. */
  readonly tunnels: number
  /** Of each. */
  readonly sockets: number
}

tuneHeap()
/** Tunnels to one web server, each under a name of its own; it says the names once all stand. */
const order = JSON.parse(process.argv[2] ?? '') as ClientOrder
const forwarder = forwardToService({ clock: systemClock }, { service: new URL(order.service) })
const log = createLog({ level: 'error' })
/** A gateway takes so many handshakes from one address at a time; a thousand providers have a thousand. */
const perAddress = 30

const names: string[] = []
const tunnels = Array.from({ length: order.tunnels }, (_, index) => {
  const account = privateKeyToAccount(generatePrivateKey())
  const name = `a${account.address.slice(2).toLowerCase()}`
  names.push(name)
  return connectTunnel(
    { clock: systemClock, random: Math.random, log, proxyEnv: {} },
    {
      gatewayUrl: order.tunnelUrl,
      name,
      account,
      sockets: order.sockets,
      domain: marketDomain({ chainId: 31_337, escrow: zeroAddress }),
      ...(order.tunnels > 1 && { localAddress: `127.0.1.${1 + Math.floor(index / perAddress)}` }),
    },
    forwarder.serve,
    new AbortController().signal,
  )
})
await Promise.all(tunnels.map(({ connected }) => connected))
while (tunnels.some((tunnel) => tunnel.status().sockets.length < order.sockets))
  await new Promise((resolve) => setTimeout(resolve, 10))
console.log(JSON.stringify({ names }))
process.once('SIGTERM', () => process.exit())
