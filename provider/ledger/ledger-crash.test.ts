import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Hex } from 'viem'
import { expect, test } from 'vitest'
import { chargeCall, createTempDir, grantOf, openTestLedger } from '../../test/support/money.ts'
import { openHistory } from './open-history.ts'

/** Real processes, a real disk: what a killed provider leaves behind. */

const program = fileURLToPath(new URL('../../test/support/charging-process.ts', import.meta.url))

const failingSyncs = new URL('../../test/support/failing-syncs.ts', import.meta.url).href

/** Runs the charging process until it has said `linesMax` lines, then kills it. @returns what it said in whole lines. */
async function chargeUntilKilled(dir: string, linesMax: number): Promise<string[]> {
  const child = spawn(process.execPath, [program, dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  let said = ''
  for await (const chunk of child.stdout) {
    said += chunk
    if (said.split('\n').length > linesMax) child.kill('SIGKILL')
  }
  const [, signal] = await exited
  expect(signal).toBe('SIGKILL')
  return said.split('\n').slice(0, -1)
}

/** Runs the charging process until it ends by itself, as it does when nothing can be charged any more. */
async function chargeUntilRefused(command: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  const [file = '', ...args] = command
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'], env })
  const exited = once(child, 'exit')
  let said = ''
  for await (const chunk of child.stdout) said += chunk
  expect(await exited).toEqual([3, null])
  const lines = said.trim().split('\n')
  expect(lines.slice(-2)).toEqual(['failed ledger_unavailable', 'then ledger_unavailable'])
  return lines.slice(1, -2) as Hex[]
}

async function expectCharged(dir: string, callIds: readonly Hex[]): Promise<number> {
  {
    // Who looks into the ledger of a provider that was killed sees what it had acknowledged.
    using open = openHistory(dir)
    const calls = open.history.readAllLanes({ after: 0 }).map((lane) => lane.calls)
    expect(calls.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(callIds.length)
  }
  await using ledger = await openTestLedger(dir)
  for (const callId of callIds) expect((await ledger.readReceipt(callId))?.callId).toBe(callId)
  const [account] = ledger.unsettled(() => grantOf())
  expect(account?.amountUsdc).toBe(BigInt(account?.calls ?? 0) * 500n)
  return account?.calls ?? 0
}

test('kill -9 in the middle of charging loses no charge that was acknowledged', async () => {
  using dir = createTempDir()
  const acknowledged: Hex[] = []
  for (const lines of [1, 7, 60, 400, 1_500]) {
    const [ready, ...callIds] = await chargeUntilKilled(dir.path, lines + 1)
    expect(ready).toBe('ready')
    acknowledged.push(...(callIds as Hex[]))
    const calls = await expectCharged(dir.path, acknowledged)
    // What was on disk but not yet acknowledged may be there, too: at most what 16 lanes had in flight, each time.
    expect(calls).toBeGreaterThanOrEqual(acknowledged.length)
    expect(calls).toBeLessThanOrEqual(acknowledged.length + 16 * 5)
  }
  expect(new Set(acknowledged).size).toBe(acknowledged.length)
})

test('on a full disk nothing is charged without its row, and the ledger says no from then on', async () => {
  using dir = createTempDir()
  // The kernel refuses to let a file grow past the limit, as a full disk would. 512-byte blocks; 4 MiB.
  const command = 'trap "" XFSZ; ulimit -f 8192; exec "$0" "$@"'
  const callIds = await chargeUntilRefused([
    ...['bash', '-c', command, process.execPath, program, dir.path, '65536'],
  ])
  expect(callIds.length).toBeGreaterThan(10)
  await expectCharged(dir.path, callIds)

  // With room again, the same ledger goes on.
  await using ledger = await openTestLedger(dir.path)
  await chargeCall(ledger)
})

test('where a disk fails to sync, those calls fail and all after them, and what was acknowledged is there', async () => {
  using dir = createTempDir()
  const callIds = await chargeUntilRefused([process.execPath, '--import', failingSyncs, program, dir.path], {
    ...process.env,
    SYNCS_MAX: '30',
  })
  expect(callIds.length).toBeGreaterThanOrEqual(30)
  await expectCharged(dir.path, callIds)
})
