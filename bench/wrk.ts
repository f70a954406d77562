import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { LoadOrder, LoadResult } from './load-order.ts'
import { parseWrkOutput } from './wrk-output.ts'

/** As autocannon has it. Seconds. */
const timeoutSeconds = 10

/** Puts load on a target with one thread of wrk, in whole seconds. */
export async function runWrk(
  wrk: string,
  { url, headers, hosts, connections, seconds }: LoadOrder,
): Promise<LoadResult> {
  await using parts = new AsyncDisposableStack()
  const hostsFile = hosts && join(await mkdtemp(join(tmpdir(), 'bench-wrk-')), 'hosts')
  if (hosts && hostsFile) {
    parts.defer(() => rm(join(hostsFile, '..'), { recursive: true }))
    await writeFile(hostsFile, hosts.join('\n'))
  }
  const { stdout } = await promisify(execFile)(wrk, [
    ...['--threads', '1', '--connections', String(connections), '--timeout', `${timeoutSeconds}s`],
    ...[
      '--duration',
      `${Math.max(1, Math.round(seconds))}s`,
      '--script',
      join(import.meta.dirname, 'wrk.lua'),
    ],
    // wrk adds a `Host` of its own, unless one is spelled so.
    ...Object.entries(headers).flatMap(([name, value]) => [
      '--header',
      `${name === 'host' ? 'Host' : name}: ${value}`,
    ]),
    ...[url, '--', ...(hostsFile ? [hostsFile] : [])],
  ])
  return parseWrkOutput(stdout)
}
