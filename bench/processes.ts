import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import { setTimeout } from 'node:timers/promises'

/** A process that was started for the bench and ends with it. */
export interface StartedProcess extends AsyncDisposable {
  readonly pid: number
  /** What it said when it was ready. */
  readonly facts: Readonly<Record<string, unknown>>
}

export interface ProcessOptions {
  readonly command: string
  readonly args: readonly string[]
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  /** The only processor cores that it may use, as a list for `taskset`. */
  readonly cores?: string | undefined
  /** How it shows that it is ready: JSON on a descriptor (standard output by default), or a port that takes connections. */
  readonly ready?: { readonly fd: number } | { readonly port: number }
}

/** Starts a process and waits until it is ready. @throws Error with its last words */
export async function startProcess(options: ProcessOptions, signal: AbortSignal): Promise<StartedProcess> {
  const { cwd, env, ready = { fd: 1 } } = options
  const [command = '', ...args] = withCores(options)
  signal.throwIfAborted()
  const child = spawn(command, args, {
    ...(cwd !== undefined && { cwd }),
    ...(env !== undefined && { env }),
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  const exited = once(child, 'exit')
  const errors = keepTail(child.stderr as Readable)
  try {
    const isReady =
      'fd' in ready ? readFirstJson(child.stdio[ready.fd] as Readable) : waitForPort(ready.port, signal)
    const failed = exited.then(([code]) => {
      throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${errors()}`)
    })
    failed.catch(() => undefined)
    const facts = await Promise.race([isReady, failed])
    return { pid: child.pid as number, facts, [Symbol.asyncDispose]: () => stop(child, exited) }
  } catch (error) {
    await stop(child, exited)
    throw error
  }
}

/** taskset becomes the command, under the same process id. */
const withCores = ({ command, args, cores }: ProcessOptions): readonly string[] =>
  cores === undefined ? [command, ...args] : ['taskset', '-c', cores, command, ...args]

async function stop(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return
  child.kill('SIGTERM')
  await exited
}

/** Reads until what has come parses; a process may print its JSON on several lines. */
async function readFirstJson(stream: Readable): Promise<Readonly<Record<string, unknown>>> {
  const decoder = new StringDecoder('utf8')
  let text = ''
  return new Promise((resolve) => {
    let isFound = false
    // Whatever comes later is read and dropped, so that the process never waits for a reader.
    stream.on('data', (chunk: Buffer) => {
      if (isFound) return
      text += decoder.write(chunk)
      const facts = parseObject(text)
      if (!facts) return
      isFound = true
      resolve(facts)
    })
  })
}

async function waitForPort(port: number, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
  for (;;) {
    const socket = connect({ host: '127.0.0.1', port })
    try {
      await once(socket, 'connect', { signal })
      return { port }
    } catch {
      await setTimeout(20, undefined, { signal })
    } finally {
      socket.destroy()
    }
  }
}

function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return JSON.parse(text.slice(0, text.lastIndexOf('}') + 1)) as Record<string, unknown>
  } catch {
    return undefined
  }
}

function keepTail(stream: Readable): () => string {
  let tail = ''
  stream.on('data', (chunk: Buffer) => {
    tail = (tail + chunk.toString('utf8')).slice(-2000)
  })
  return () => tail.trim()
}
