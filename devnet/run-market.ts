import { join } from 'node:path'
import { systemClock } from '../protocol/base/clock.ts'
import { createLog } from '../protocol/base/log.ts'
import { parseUsdc } from '../protocol/usdc.ts'
import { createConsole } from './console.ts'
import { demonstrate } from './demonstration/demonstrate.ts'
import { deployExamples, nameExample } from './examples.ts'
import { startGuests } from './guests.ts'
import { createMarket } from './market.ts'
import { openMarketDir } from './market-dir.ts'
import { writeMarketFile } from './market-file.ts'
import { findNative } from './native.ts'
import type { Settings } from './settings.ts'
import { describeMarketForPeople } from './summary.ts'
import { version } from './version.ts'

/**
 * Runs a market with the examples in it, shows that they are paid, and stays until `signal` aborts; then all of it is
 * gone again. What people read goes to standard output.
 *
 * @throws ProtocolError `port_taken`, …; the reason of a `signal` that aborts before the market is ready
 */
export async function runMarket(
  { port, once, fault, isSwarm, liar, isVerbose }: Settings,
  signal: AbortSignal,
): Promise<void> {
  const clock = systemClock
  const screen = createConsole({ clock, write: (text) => process.stdout.write(text) })
  const log = createLog({ level: isVerbose ? 'debug' : 'error' })
  await using parts = new AsyncDisposableStack()

  const folder = join(process.cwd(), '.khachapuri')
  const dir = parts.use(await openMarketDir(folder)).path

  const native = await findNative({ clock, log }, signal)
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
        ...(native && { native }),
      },
      signal,
    ),
  )
  screen.step('examples')
  const deployed = await deployExamples(market, dir, signal)
  await nameExample(market, deployed, dir, signal)
  screen.step('calls')
  const demonstrations = await demonstrate({ clock, log }, market, deployed, signal)
  if (isSwarm) screen.step('guests')
  const guests = isSwarm
    ? parts.use(
        await startGuests(
          { clock, random: Math.random, log },
          market,
          { ...{ dir, version, liar }, settleIntervalMs: 2_000 },
          signal,
        ),
      )
    : undefined
  parts.use(await writeMarketFile(folder, market, deployed, guests?.cid))
  // npm runs scripts in the project's folder, wherever it was called.
  const cwd = process.env['INIT_CWD'] ?? process.cwd()
  const swarm = guests?.cid
  screen.done(describeMarketForPeople({ market, deployed, demonstrations, swarm, isStaying: !once, cwd }))
  if (!once && !signal.aborted)
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }))
  screen.note('Stopping: calls in flight end, what is owed is settled …')
}
