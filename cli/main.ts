import { once } from 'node:events'
import { enableCompileCache } from 'node:module'
import { tuneHeap } from '../protocol/base/tune-heap.ts'
import { runCli } from './cli.ts'
import { useProxies } from './use-proxies.ts'

// The command line as a process: everything that it does is in cli.ts, which knows of no process.
tuneHeap()
enableCompileCache()
useProxies(process.env)

const interrupted = new AbortController()
const repeatMsMin = 1_000
let interruptedAtMs: number | undefined

/** The first signal asks; one more, after a moment, insists. A terminal and a parent often both send the same one. */
function interrupt(): void {
  const nowMs = performance.now()
  if (interruptedAtMs !== undefined && nowMs - interruptedAtMs > repeatMsMin) process.exit(130)
  interruptedAtMs ??= nowMs
  interrupted.abort(new DOMException('Interrupted.', 'AbortError'))
}

const reloads = new Set<() => void>()

process.on('SIGINT', interrupt)
process.on('SIGTERM', interrupt)
// A terminal that is closed ends what runs in it, but for whoever reads its settings again then.
process.on('SIGHUP', () => {
  if (reloads.size === 0) interrupt()
  for (const reload of reloads) reload()
})
// A reader that leaves early (`khachapuri help | head -1`) is no failure. What runs in a terminal that is gone has still to
// put away what it made.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (code !== 'EIO') process.exit(code === 'EPIPE' ? 0 : 70)
  })
}

const code = await runCli(
  process.argv.slice(2),
  {
    cwd: process.cwd(),
    env: process.env,
    onReload(listener) {
      reloads.add(listener)
      return { [Symbol.dispose]: () => void reloads.delete(listener) }
    },
    stdin: process.stdin,
    writeOut: async (output) => {
      if (!process.stdout.write(output)) await once(process.stdout, 'drain')
    },
    writeError: (text) => void process.stderr.write(text),
    ...(process.stderr.isTTY && { errorColumns: () => process.stderr.columns }),
  },
  interrupted.signal,
)
// Idle keep-alive connections would hold the process for seconds.
process.exit(code)
