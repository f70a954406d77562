import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../protocol/base/clock.ts'
import { createLog } from '../protocol/base/log.ts'
import { isProtocolError, ProtocolError } from '../protocol/errors.ts'
import { parseUsdc } from '../protocol/usdc.ts'
import { type Fault, parseFault } from '../provider/faults.ts'
import { devChainId } from './chain.ts'
import { createConsole } from './console.ts'
import { demonstrate } from './demonstration.ts'
import { deployExamples } from './examples.ts'
import { createMarket } from './market.ts'
import { writeMarketFile } from './market-file.ts'
import { describeMarketForPeople } from './summary.ts'
import { version } from './version.ts'

/** `npm start`: the whole market on this machine, until Ctrl-C. */

const usage = `Usage: npm start -- [options]

Runs a market on this machine: chain, contracts, gateway, the providers alice and bob, and the examples.

  --port <n>      Port of the gateway (default 8080; 0 takes a free one)
  --once          Stop after the demonstration calls were answered and settled on chain
  --fault <name>  Let the providers misbehave on purpose: wrong-id
  --verbose       Log as JSON to standard error
  --help          Show this

Exit codes: 0 done, 1 failed, 2 wrong usage.`

interface Settings {
  readonly port: number
  readonly once: boolean
  readonly fault: Fault | undefined
  readonly isVerbose: boolean
}

function parseSettings(argv: readonly string[]): Settings | 'help' {
  try {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        port: { type: 'string', default: '8080' },
        once: { type: 'boolean', default: false },
        fault: { type: 'string' },
        verbose: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    })
    if (values.help) return 'help'
    const port = /^\d{1,5}$/.test(values.port) ? Number(values.port) : 65_536
    if (port > 65_535)
      throw new Error(`--port takes a number from 0 to 65535, not "${values.port.slice(0, 20)}".`)
    const fault = values.fault === undefined ? undefined : parseFault(values.fault, devChainId)
    return { port, once: values.once, fault, isVerbose: values.verbose }
  } catch (error) {
    throw new ProtocolError('usage_invalid', (error as Error).message, { hint: usage })
  }
}

async function run({ port, once, fault, isVerbose }: Settings, signal: AbortSignal): Promise<void> {
  const clock = systemClock
  const screen = createConsole({ clock, write: (text) => process.stdout.write(text) })
  const log = createLog({ level: isVerbose ? 'debug' : 'error' })
  await using parts = new AsyncDisposableStack()

  // A chain that ends with the process leaves nothing that a later one could use.
  const folder = join(process.cwd(), '.khachapuri')
  const dir = join(folder, `market-${process.pid}`)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  parts.defer(() => rm(dir, { recursive: true, force: true }))

  const market = parts.use(
    await createMarket(
      { clock, random: Math.random, log, onProgress: screen.step },
      {
        dir,
        gatewayPort: port,
        priceUsdc: parseUsdc('0.0005'),
        settleIntervalMs: 2_000,
        version,
        ...(fault && { fault }),
      },
      signal,
    ),
  )
  screen.step('examples')
  const deployed = await deployExamples(market, dir, signal)
  const factor = deployed.find(({ name }) => name === 'factor')
  if (!factor) throw new ProtocolError('internal', 'factor is missing.', { hint: 'See devnet/examples.ts.' })

  screen.step('calls')
  const demonstrations = await demonstrate(market, factor, clock, signal)
  parts.use(await writeMarketFile(folder, market, deployed))
  screen.done(describeMarketForPeople({ market, deployed, demonstrations, isStaying: !once }))
  if (!once)
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  screen.note('Stopping: calls in flight end, what is owed is settled …')
}

const interrupted = new AbortController()
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => interrupted.abort(new DOMException('Interrupted.', 'AbortError')))
}

try {
  const settings = parseSettings(process.argv.slice(2))
  if (settings === 'help') console.log(usage)
  else await run(settings, interrupted.signal)
  process.exit(0)
} catch (error) {
  if (interrupted.signal.aborted) process.exit(130)
  if (isProtocolError(error)) console.error(`\n${error.message}\n${error.hint}`)
  else console.error(error)
  process.exit(isProtocolError(error) && error.code === 'usage_invalid' ? 2 : 1)
}
