import { expect, test } from 'vitest'
import { runCrashes } from '../crash/harness.ts'

/** Twenty-five of the kills of `npm run test:crash`, of which a thousand are run now and then. */

const seed = Number(process.env['CRASH_SEED'] ?? 20_261_120)

test('25 kills under load, with a chain that reorganises, stalls and refuses: chain, ledger and clients agree to the last unit', async () => {
  const lines: string[] = []
  const report = await runCrashes({ kills: 25, seed, onProgress: (line) => lines.push(line) })
  console.log(`Crash seed ${seed}: ${JSON.stringify(report.answered)}`)
  expect(lines.length).toBeGreaterThanOrEqual(25)
  expect(report.killsAtStart).toBeGreaterThan(0)
  expect(report.reorganisations).toBeGreaterThan(0)
  for (const [way, answers] of Object.entries(report.answered))
    expect(answers, `answers paid by ${way}`).toBeGreaterThan(0)
  expect(report.earnedUsdc).toBeGreaterThan(0n)
}, 600_000)
