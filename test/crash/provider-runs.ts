import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { ProviderOrder } from './provider-process.ts'

/** One life of a provider. */
export interface ProviderRun {
  /** Tells it to start. Code is loaded by then, or will be. */
  start(order: ProviderOrder): void
  /** Where it listens; undefined where it ended before. */
  readonly ready: Promise<string | undefined>
  /** Why it did not start, as it says itself. */
  failure(): string | undefined
  kill(): void
  /** Asks it to end in good order. */
  stop(): void
  readonly ended: Promise<number | NodeJS.Signals>
  output(): string
}

const script = join(import.meta.dirname, 'provider-process.ts')

/** @param fileKiBMax - No file may grow beyond it, as on a full disk; undefined for no limit. */
export function spawnProvider(fileKiBMax: number | undefined): ProviderRun {
  const limit = fileKiBMax === undefined ? 'unlimited' : String(fileKiBMax)
  const child: ChildProcess = spawn(
    'bash',
    [
      '-c',
      `trap "" XFSZ; ulimit -f ${limit}; exec "$0" "$@"`,
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      script,
    ],
    { stdio: ['ignore', 'pipe', 'pipe', 'ipc'], detached: false },
  )
  let output = ''
  let failure: string | undefined
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-64_000)
    })
  }
  const ended = once(child, 'close').then(([code, signal]) => (signal ?? code) as number | NodeJS.Signals)
  const { promise: ready, resolve } = Promise.withResolvers<string | undefined>()
  child.on('message', (message: { kind: string; url?: string; error?: string }) => {
    if (message.kind === 'ready') resolve(message.url)
    if (message.kind === 'failed') failure = message.error
  })
  void ended.then(() => resolve(undefined))
  return {
    start(order) {
      // One that is dead already says so by `ended`.
      if (child.connected) child.send(order, () => undefined)
    },
    ready,
    failure: () => failure,
    kill: () => void child.kill('SIGKILL'),
    stop: () => void child.kill('SIGTERM'),
    ended,
    output: () => output,
  }
}
