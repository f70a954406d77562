import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Answer, Order } from './worker.ts'

/** A mutant that loops for ever is noticed by whoever waits. */
const orderTimeoutMs = 180_000
/** A worker that has grown so big is replaced by another, and stopped at the second number. */
const workerBytesMax = 1.5e9
const orderBytesMax = 4e9

export type Verdict = 'passed' | 'failed' | 'timed out'

/** Runs tests in one process at a time, which lives as long as it is small and answers. */
export interface Worker extends AsyncDisposable {
  run(order: Order): Promise<Verdict>
}

/** @param copy - The folder in which the mutants were compiled. */
export function createWorker(copy: string): Worker {
  let child: ChildProcess | undefined

  const stop = async () => {
    const ending = child
    child = undefined
    if (!ending || ending.exitCode !== null || ending.signalCode !== null) return
    const exited = once(ending, 'exit')
    ending.kill('SIGKILL')
    await exited
  }

  return {
    async run(order) {
      child ??= fork(join(copy, 'test/mutation/worker.ts'), {
        cwd: copy,
        // What a thousand failing tests say is not worth reading.
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        execArgv: ['--max-old-space-size=1024', '--disable-warning=ExperimentalWarning'],
        env: { ...process.env, HARDHAT_DISABLE_TELEMETRY_PROMPT: 'true' },
      })
      const verdict = await answerOf(child, order)
      if (verdict === 'timed out' || (await sizeBytes(child)) > workerBytesMax) await stop()
      return verdict
    },
    [Symbol.asyncDispose]: stop,
  }
}

/** A process that dies under a mutant has noticed it. */
function answerOf(child: ChildProcess, order: Order): Promise<Verdict> {
  const { promise, resolve } = Promise.withResolvers<Verdict>()
  const timer = setTimeout(() => resolve('timed out'), orderTimeoutMs)
  const watch = setInterval(async () => {
    if ((await sizeBytes(child)) > orderBytesMax) resolve('timed out')
  }, 500)
  const onMessage = (answer: Answer) => resolve(answer.passed ? 'passed' : 'failed')
  const onExit = () => resolve('timed out')
  child.once('message', onMessage)
  child.once('exit', onExit)
  child.send(order)
  return promise.finally(() => {
    clearTimeout(timer)
    clearInterval(watch)
    child.off('message', onMessage)
    child.off('exit', onExit)
  })
}

/** Where the system does not tell, a worker lives on. */
async function sizeBytes({ pid }: ChildProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024
}
