import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isProtocolError } from '../protocol/errors.ts'
import { coldCall } from './cold-call.ts'
import { density } from './density.ts'
import { formatReport } from './format.ts'
import { gatewayCall } from './gateway-call.ts'
import { gatewayProxy } from './gateway-proxy.ts'
import { ledgerCharges } from './ledger-charges.ts'
import { createLoad } from './load.ts'
import { describeMachine } from './machine.ts'
import { type BenchMarket, startBenchMarket } from './market.ts'
import type { Measurement, Report } from './measurement.ts'
import { nativeCall } from './native-call.ts'
import { neighbours } from './neighbours.ts'
import { paidCall } from './paid-call.ts'
import { programStart } from './program-start.ts'
import { receiptCalls } from './receipt-calls.ts'
import { receipts } from './receipts.ts'
import { writeResults } from './results-block.ts'
import { parseSettings, type Settings, usage } from './settings.ts'
import { settleGas } from './settle-gas.ts'
import { settleMany } from './settle-many.ts'
import { swarmCall } from './swarm-call.ts'
import { fleetHop } from './tunnel/fleet-hop.ts'
import { manyTunnels } from './tunnel/many-tunnels.ts'
import { strangers } from './tunnel/strangers.ts'
import { tunnelBulk } from './tunnel/tunnel-bulk.ts'
import { tunnelCall } from './tunnel/tunnel-call.ts'
import { tunnelIdle } from './tunnel/tunnel-idle.ts'
import { tunnelKills } from './tunnel/tunnel-kills.ts'
import { warmCall } from './warm-call.ts'

/** `npm run bench`: every measurement beside its peers, in one run. Progress goes to standard error. */

const measurements: readonly Measurement[] = [
  // These start programs from this process, and a fork takes as long as it has memory: before others run a chain in it.
  nativeCall,
  programStart,
  density,
  neighbours,
  warmCall,
  paidCall,
  gatewayCall,
  gatewayProxy,
  coldCall,
  settleGas,
  settleMany,
  ledgerCharges,
  receipts,
  receiptCalls,
  swarmCall,
  tunnelCall,
  tunnelBulk,
  tunnelIdle,
  manyTunnels,
  tunnelKills,
  strangers,
  fleetHop,
]

const interrupted = new AbortController()
const repeatMsMin = 1_000
let interruptedAtMs: number | undefined

/** The first signal asks; one more, after a moment, insists. A terminal and npm often both send the same one. */
function interrupt(): void {
  const nowMs = performance.now()
  if (interruptedAtMs !== undefined && nowMs - interruptedAtMs > repeatMsMin) process.exit(130)
  interruptedAtMs ??= nowMs
  interrupted.abort(new DOMException('Interrupted.', 'AbortError'))
}
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, interrupt)

async function main(argv: readonly string[]): Promise<number> {
  const names = measurements.map(({ name }) => name)
  try {
    const settings = parseSettings(argv, names)
    if (settings === 'help') console.log(`${usage}${names.join(', ')}`)
    else await runBench(settings, argv, interrupted.signal)
    return 0
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    if (!isProtocolError(error)) {
      console.error(error)
      return 1
    }
    console.error(`${error.message}\n${error.hint}`)
    return error.code === 'usage_invalid' ? 2 : 1
  }
}

async function runBench(settings: Settings, argv: readonly string[], signal: AbortSignal): Promise<void> {
  const { only, isJson, writes } = settings
  const machine = await describeMachine(signal)
  const command = ['npm run bench', ...(argv.length > 0 ? ['--', ...argv] : [])].join(' ')
  const chosen = measurements.filter(({ name }) => only.length === 0 || only.includes(name))
  const reports = await measure(chosen, settings, signal)
  const markdown = [
    `\`${command}\` on ${new Date().toISOString().slice(0, 10)}: medians of ${settings.rounds} rounds of ${settings.seconds} s.`,
    ...machine,
    ...reports.map(({ title, report }) => formatReport(title, report)),
  ].join('\n\n')
  console.log(isJson ? JSON.stringify({ command, machine, reports }, undefined, 2) : markdown)
  if (writes) await writeResults(markdown)
}

interface NamedReport {
  readonly name: string
  readonly title: string
  readonly report: Report
}

async function measure(
  chosen: readonly Measurement[],
  { seconds, rounds, profileDir }: Settings,
  signal: AbortSignal,
): Promise<readonly NamedReport[]> {
  await using parts = new AsyncDisposableStack()
  // Beside the project, because a temporary directory is in memory on many machines, where nothing is ever synced.
  const dir = join(import.meta.dirname, '..', '.khachapuri', `bench-${process.pid}`)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  parts.defer(() => rm(dir, { recursive: true, force: true }))
  const load = parts.use(createLoad())
  const note = (text: string) => console.error(`[${process.uptime().toFixed(0).padStart(4)} s] ${text}`)

  let starting: Promise<BenchMarket> | undefined
  const market = () => {
    starting ??= startBenchMarket({ dir: join(dir, 'market'), profileDir }, signal).then((started) =>
      parts.use(started),
    )
    return starting
  }

  const reports: NamedReport[] = []
  for (const { name, title, run } of chosen) {
    signal.throwIfAborted()
    note(title)
    reports.push({ name, title, report: await run({ seconds, rounds, load, dir, market, note }, signal) })
  }
  return reports
}

// Idle keep-alive connections would hold the process for seconds.
process.exit(await main(process.argv.slice(2)))
