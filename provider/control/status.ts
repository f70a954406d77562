import { z } from 'zod'
import type { MirrorStatus } from '../../protocol/chain/grant-mirror.ts'
import type { ProviderInfo } from '../../protocol/provider.ts'
import { usdcSchema } from '../../protocol/schema.ts'
import type { TunnelStatus } from '../../tunnel-client/connect-tunnel.ts'
import type { SettlerStatus } from '../settlement/settler.ts'
import type { SettlementsStatus } from '../x402/settlements.ts'

/** How a running provider is, as its parts say. */
export interface ProviderStatus {
  readonly info: ProviderInfo
  readonly server: string
  readonly settler: SettlerStatus
  readonly chain: MirrorStatus
  readonly x402: SettlementsStatus | undefined
  readonly tunnel: TunnelStatus | undefined
  readonly programsRunning: number
  /** Those that died so often that they are not started now. */
  readonly programsResting: number
}

/** The same over the control socket. */
export function statusToJson({
  info,
  server,
  settler,
  chain,
  x402,
  tunnel,
  programsRunning,
  programsResting,
}: ProviderStatus) {
  return {
    ...{ name: info.name, address: info.address, priceUsdc: info.price.toString(), tier: info.tier },
    ...{ version: info.version, runtimes: info.runtimes, server, programsRunning, programsResting },
    unsettledUsdc: settler.unsettledUsdc.toString(),
    unsettledSinceMs: settler.unsettledSinceMs ?? null,
    alarms: settler.alarms,
    settlementFailures: settler.failures,
    chainBlock: Number(chain.blockNumber),
    chainLostSinceMs: chain.lostSinceMs ?? null,
    x402: x402 ? { open: x402.open, lost: x402.lost, lostUsdc: x402.lostUsdc.toString() } : null,
    tunnel: tunnel
      ? {
          state: tunnel.state,
          sockets: tunnel.sockets.length,
          lastError: tunnel.lastError?.message ?? null,
        }
      : null,
  }
}

const count = z.number().int().min(0)
const timeMs = z.number().nullable()

export const providerStatusSchema = z.object({
  name: z.string(),
  address: z.string(),
  priceUsdc: usdcSchema,
  tier: z.string(),
  version: z.string(),
  runtimes: z.array(z.string()),
  server: z.string(),
  programsRunning: count,
  programsResting: count,
  unsettledUsdc: usdcSchema,
  unsettledSinceMs: timeMs,
  alarms: z.array(z.string()),
  settlementFailures: count,
  chainBlock: count,
  chainLostSinceMs: timeMs,
  x402: z.object({ open: count, lost: count, lostUsdc: usdcSchema }).nullable(),
  tunnel: z.object({ state: z.string(), sockets: count, lastError: z.string().nullable() }).nullable(),
})
