import { InvalidAnswer, toMetaVariables } from '../../cgi/cgi.ts'
import { createAnswer } from './answer.ts'
import { type CallRecord, createClock, createRandom } from './call-record.ts'
import { buildTree } from './file-tree.ts'
import { createMemory } from './memory.ts'
import { entry, faultHeader, files, program, recordHeaders, token } from './program.js'
import { createErrors, createInput } from './streams.ts'
import { createWasi, Exit } from './wasi.ts'

/**
 * The worker around a WASI program: a fresh instance for each call, which reads the request and writes the answer in
 * the CGI way. Everything here runs inside the sandbox, beside the program.
 */
export default {
  fetch(request: Request, env: Readonly<Record<string, unknown>>, ctx: Context): Promise<Response> {
    const answer = createAnswer({ method: request.method })
    const input = createInput(request.body, answer.flush)
    const errors = createErrors((line) => console.error(line))
    const record = readRecord(request.headers)
    const wasi = createWasi({
      args: [entry],
      environment: formatEnvironment(env, request),
      input,
      output: answer,
      errors,
      root,
      clock: createClock(record),
      fillRandom: createRandom(record),
      memory: createMemory(() => memory.buffer),
    })
    const suspending = {
      ...wasi,
      fd_read: new WebAssembly.Suspending(wasi.fd_read),
      fd_write: new WebAssembly.Suspending(wasi.fd_write),
    }
    let memory: WebAssembly.Memory

    async function run(): Promise<void> {
      try {
        const imports = { wasi_snapshot_preview1: suspending, wasi_unstable: suspending }
        const { exports } = new WebAssembly.Instance(program, imports)
        memory = exports['memory'] as WebAssembly.Memory
        const start = exports['_start']
        if (typeof start !== 'function' || !memory)
          return fail('output_invalid', 'It exports no _start and memory: it is no WASI command.')
        await WebAssembly.promising(start as () => void)()
        await answer.end()
      } catch (error) {
        if (error instanceof Exit && error.code === 0) await answer.end().catch(report)
        else await report(error)
      } finally {
        errors.end()
        input.cancel()
      }
    }

    function report(error: unknown): Promise<void> {
      if (error instanceof InvalidAnswer) return fail('output_invalid', error.message)
      const what = error instanceof Exit ? `It exited with code ${error.code}` : describe(error)
      return fail('crashed', errors.lastLine === '' ? `${what}.` : `${what}: ${errors.lastLine}`)
    }

    const fail = (kind: 'crashed' | 'output_invalid', message: string) =>
      answer.fail(new Error(message), () => toFault(kind, message))

    ctx.waitUntil(run())
    return answer.response
  },
}

/** Answers whenever the program's thread is free. */
export const ping = { fetch: () => new Response() }

interface Context {
  waitUntil(work: Promise<void>): void
}

const root = buildTree(files)

/** Public settings come as one variable of JSON, secrets as they are; a request's own variables stand above them. */
function formatEnvironment(
  { params, ...env }: Readonly<Record<string, unknown>>,
  request: Request,
): string[] {
  const secrets = Object.fromEntries(Object.entries(env).filter(([, value]) => typeof value === 'string'))
  const { method, url, headers } = request
  const variables = {
    ...secrets,
    KHACHAPURI_PARAMS: JSON.stringify(params ?? null),
    ...toMetaVariables({ method, url, headers }),
  }
  return Object.entries(variables).map(([name, value]) => `${name}=${value}`)
}

/** From the provider; where nobody pays (`khachapuri run`) there is none, and the machine's own time and chance serve. */
function readRecord(headers: Headers): CallRecord {
  const seed = headers.get(recordHeaders.seed)
  const startedMs = Number(headers.get(recordHeaders.started) ?? Number.NaN)
  if (seed !== null && Number.isSafeInteger(startedMs)) return { seed, startedMs }
  return { seed: crypto.randomUUID(), startedMs: Date.now() }
}

function toFault(kind: string, message: string): Response {
  const value = `${token} ${kind} ${encodeURIComponent(message.slice(0, 1000).toWellFormed())}`
  return new Response(null, { status: 500, headers: { [faultHeader]: value } })
}

function describe(error: unknown): string {
  return error instanceof WebAssembly.RuntimeError ? `WebAssembly trap: ${error.message}` : String(error)
}
