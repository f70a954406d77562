import { once } from 'node:events'
import type { Address, Hex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createLog } from '../../protocol/base/log.ts'
import { parseName } from '../../protocol/name.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createProvider } from '../../provider/provider.ts'

/** What the process is told before it starts. It is JSON, so amounts are strings. */
export interface ProviderOrder {
  readonly name: string
  readonly privateKey: Hex
  readonly rpcUrl: string
  readonly contracts: { readonly chainId: number; readonly escrow: Address; readonly registry: Address }
  readonly dir: string
  readonly price: string
  /** 0 takes a free one, the first time. */
  readonly port: number
  readonly keeper: string
  readonly peers: readonly string[]
}

/**
 * A provider that is made to be killed. It has loaded all its code when it says `loaded`, starts when it is told how,
 * says where it listens, and ends in good order on SIGTERM. Started by harness.ts.
 */
const say = (message: unknown) => process.send?.(message)

// Whoever started it is gone: nobody would ever end it.
process.once('disconnect', () => process.exit(0))
say({ kind: 'loaded' })
const [order] = (await once(process, 'message')) as [ProviderOrder]
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort(new Error('stopped')))

try {
  await using provider = await createProvider(
    { clock: systemClock, random: Math.random, log: createLog({ level: 'warn' }) },
    {
      name: parseName(order.name),
      account: privateKeyToAccount(order.privateKey),
      rpcUrls: [new URL(order.rpcUrl)],
      contracts: order.contracts,
      fromBlock: 0n,
      dir: order.dir,
      priceUsdc: usdc(BigInt(order.price)),
      noticeHours: 48,
      reach: { kind: 'direct', host: '127.0.0.1', port: order.port },
      keepers: [new URL(order.keeper)],
      peers: order.peers,
      version: 'crash',
      // Fast, so that every step of a settlement is often under way when the end comes.
      mirrorIntervalMs: 25,
      settleIntervalMs: 100,
      x402WaitMs: 2_000,
    },
    stop.signal,
  )
  say({ kind: 'ready', url: provider.url?.href })
  if (!stop.signal.aborted) await once(stop.signal, 'abort')
} catch (error) {
  say({ kind: 'failed', error: String(error) })
  process.exitCode = 1
}
process.disconnect?.()
