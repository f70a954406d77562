import { enableCompileCache } from 'node:module'
import { isProtocolError } from '../protocol/errors.ts'
import { assertPortFree } from './assert-port-free.ts'
import { parseSettings, usage } from './settings.ts'

// `npm start` as a process. What is wrong with the command line or the port shows before anything heavy is loaded.
enableCompileCache()

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
// A reader that leaves early (`npm start | head`) is no reason to stop, and none to leave keys and files behind.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

async function main(): Promise<number> {
  try {
    const settings = parseSettings(process.argv.slice(2))
    if (settings === 'help') {
      console.log(usage)
      return 0
    }
    await assertPortFree(settings.port)
    console.log('Starting a market on this machine; Ctrl-C stops it.')
    const { runMarket } = await import('./run-market.ts')
    await runMarket(settings, interrupted.signal)
    return 0
  } catch (error) {
    if (interrupted.signal.aborted) return 130
    if (!isProtocolError(error)) {
      console.error(error)
      return 1
    }
    console.error(`\n${error.message}\n${error.hint}`)
    return error.code === 'usage_invalid' ? 2 : 1
  }
}

// Idle keep-alive connections would hold the process for seconds.
process.exit(await main())
