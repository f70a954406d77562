import type { z } from 'zod'
import { ProtocolError } from '../../../protocol/errors.ts'
import { formatUsdc } from '../../../protocol/usdc.ts'
import { providerStatusSchema } from '../../../provider/control/status.ts'
import { defineCommand } from '../../command.ts'
import { orderProvider } from '../../operate/order-provider.ts'
import { findProviderDir, providerOptions } from '../../operate/provider-dir.ts'

export const providerStatus = defineCommand({
  usage: 'provider status',
  details:
    'Asks the provider that runs in a directory of this machine. Ends with 1 where none runs. For graphs and alarms over\n' +
    'time, start it with --metrics-port.',
  options: providerOptions,
  examples: ['provider status', 'provider status --domain carol --json'],
  async run({ values }, context) {
    const dir = await findProviderDir(values, context)
    const answer = await orderProvider(dir, { order: 'status' }, context.signal)
    if (answer === undefined) {
      throw new ProtocolError('provider_unreachable', `No provider runs in ${dir}.`, {
        hint: 'Start it with "khachapuri provider up".',
      })
    }
    const status = providerStatusSchema.parse(answer)
    context.print(describe(status, context.clock.nowMs()), status)
  },
})

type Status = z.output<typeof providerStatusSchema>

function describe(status: Status, nowMs: number): string {
  const { name, address, server, tunnel, x402, alarms, settlementFailures } = status
  const { unsettledUsdc, unsettledSinceMs, chainBlock, chainLostSinceMs } = status
  const since = (sinceMs: number) => `${Math.max(0, Math.round((nowMs - sinceMs) / 1000))} s`
  const owed =
    unsettledSinceMs === null ? 'nothing' : `${formatUsdc(unsettledUsdc)} USDC for ${since(unsettledSinceMs)}`
  const resting = status.programsResting > 0 ? `, ${status.programsResting} resting after they died` : ''
  const lines = [
    `${name} is up.`,
    `  account   ${address}`,
    `  server    ${server}`,
    `  price     ${formatUsdc(status.priceUsdc)} USDC per call`,
    `  programs  ${status.programsRunning} running${resting} (${status.runtimes.join(', ')}; walls: ${status.tier})`,
    `  owed      ${owed}${settlementFailures > 0 ? `; ${settlementFailures} settlements failed in a row` : ''}`,
    `  chain     ${chainLostSinceMs === null ? `block ${chainBlock}` : `has not answered for ${since(chainLostSinceMs)}`}`,
  ]
  if (tunnel) {
    const why = tunnel.lastError === null ? '' : `; last failure: ${tunnel.lastError}`
    lines.push(`  tunnel    ${tunnel.state}, ${tunnel.sockets} sockets${why}`)
  }
  if (x402 && x402.open + x402.lost > 0)
    lines.push(`  x402      ${x402.open} open, ${x402.lost} lost (${formatUsdc(x402.lostUsdc)} USDC)`)
  for (const alarm of alarms) lines.push(`  ALARM     ${alarm}: see --alarm-value and --alarm-age`)
  return lines.join('\n')
}
