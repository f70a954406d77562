import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type ExitCode, runCli } from './cli.ts'

/** What one run of the command line did. */
export interface CliResult {
  readonly exitCode: ExitCode
  readonly stdout: string
  readonly stderr: string
  /** Standard output as the one JSON object that `--json` promises. */
  json<T = Record<string, unknown>>(): T
}

export interface RunOptions {
  readonly stdin?: string
  /** Types these lines at a terminal instead of piping `stdin`. */
  readonly typed?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly signal?: AbortSignal
  /** Wants settings to be read again at each of its `reload` events. */
  readonly reloads?: EventTarget
  /** Hears standard output as it comes, for commands that serve. */
  readonly onOut?: (text: string) => void
  /** Hears standard error as it comes. */
  readonly onNote?: (text: string) => void
}

/** A user of the command line in a test: an empty directory, an empty home, no terminal unless it types. */
export interface TestUser extends AsyncDisposable {
  readonly dir: string
  run(argv: readonly string[], options?: RunOptions): Promise<CliResult>
}

/** A command that serves: `first` is what it printed once it was ready, or why it was not; `stop` is Ctrl-C. */
export interface ServingCommand {
  readonly first: string
  stop(): Promise<CliResult>
}

/** Starts a command that runs until it is interrupted. */
export async function startServing(
  user: TestUser,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<ServingCommand> {
  const interrupt = new AbortController()
  const { promise: ready, resolve } = Promise.withResolvers<string>()
  const done = user.run(argv, { ...options, signal: interrupt.signal, onOut: resolve })
  const first = await Promise.race([ready, done.then(({ stdout, stderr }) => stdout + stderr)])
  return {
    first,
    stop() {
      interrupt.abort(new DOMException('Interrupted.', 'AbortError'))
      return done
    },
  }
}

export async function createTestUser(): Promise<TestUser> {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-cli-'))
  const home = join(dir, '.home')
  return {
    dir,
    async run(argv, { stdin = '', typed, env = {}, cwd = dir, signal, reloads, onOut, onNote } = {}) {
      let stdout = ''
      let stderr = ''
      const exitCode = await runCli(
        argv,
        {
          cwd,
          env: { KHACHAPURI_HOME: home, ...env },
          onReload(listener) {
            reloads?.addEventListener('reload', listener)
            return { [Symbol.dispose]: () => reloads?.removeEventListener('reload', listener) }
          },
          stdin: typed ? keyboard(typed) : Readable.from([Buffer.from(stdin)]),
          writeOut(output) {
            const text = typeof output === 'string' ? output : Buffer.from(output).toString('utf8')
            stdout += text
            onOut?.(text)
          },
          writeError(text) {
            stderr += text
            onNote?.(text)
          },
        },
        signal ?? new AbortController().signal,
      )
      return { exitCode, stdout, stderr, json: () => JSON.parse(stdout) }
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  }
}

/** A terminal at which somebody types one line whenever one is read. */
function keyboard(lines: readonly string[]) {
  const rest = [...lines]
  const stream = new Readable({
    read() {
      const line = rest.shift()
      this.push(line === undefined ? null : `${line}\n`)
    },
    highWaterMark: 1,
  })
  return Object.assign(stream, { isTTY: true, setRawMode: () => undefined })
}
