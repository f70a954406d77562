import type { Log } from '../../protocol/base/log.ts'
import { type ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import { type HttpResponse, listen } from '../../protocol/http/listen.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import type { Params } from '../../protocol/program.ts'
import { openBody } from '../../provider/http/call-body.ts'
import { isNobodys, toProgramHeaders } from '../../provider/http/program-headers.ts'
import { relay } from '../../provider/http/relay.ts'
import { createInstances, type Instances, type Launch } from '../../provider/runtime/instances.ts'
import type { NativeRoot } from '../../provider/runtime/native/binary.ts'
import { openRuntimes } from '../../provider/runtime/open-runtimes.ts'
import type { CommandContext } from '../command.ts'
import type { Env } from './env-file.ts'
import type { PackedProgram } from './packed-program.ts'

export interface ServeOptions {
  readonly program: PackedProgram
  readonly env: Env
  readonly params: Params
  /** 0 takes a free one. */
  readonly port: number
  /** What a native program sees of this machine. */
  readonly nativeRoot: NativeRoot
}

/** A program that answers on this machine, in the sandbox in which a provider would run it; nobody pays. */
export interface ServedProgram extends AsyncDisposable {
  readonly url: URL
}

/**
 * Starts a program and serves it at every path of a port of this machine.
 *
 * @throws ProtocolError `port_taken`, `sandbox_unavailable`, `runtime_unavailable`, and `program_…` where it does not start
 */
export async function serveProgram(
  log: Log,
  { program, env, params, port, nativeRoot }: ServeOptions,
  { clock, note, signal }: CommandContext,
): Promise<ServedProgram> {
  await using starting = new AsyncDisposableStack()
  // One process in advance: enough to replace a program that has crashed.
  const { runtime, entry } = program.manifest
  const native = runtime === 'native' ? { root: nativeRoot } : undefined
  const { runtimes } = starting.use(await openRuntimes({ clock, log }, { zygotes: 1, native }, signal))
  const instances = starting.use(createInstances({ clock, log }, { runtimes }))
  const launch = async (): Promise<Launch> => ({
    kind: runtime,
    program: { files: program.files, entry, native: program.manifest.native },
    options: {
      env,
      params,
      limits: program.manifest.limits,
      onOutput: (chunk) => note(chunk.toString('utf8').trimEnd()),
    },
  })
  const acquire = () => instances.acquire('run', launch, signal)
  // A program that cannot start says so now, and not to its first caller.
  await acquire()
  const listener = starting.use(
    await listen({
      host: '127.0.0.1',
      port,
      onRequest: (request, response) => {
        const startedMs = clock.monotonicMs()
        response.on('close', () => {
          const tookMs = Math.round(clock.monotonicMs() - startedMs)
          const status = response.writableFinished ? response.statusCode : 'broken off'
          note(`${request.method} ${request.url}  ${status}  ${tookMs} ms`)
        })
        answer(acquire, request as IncomingRequest, response).catch((error) => sendProblem(response, error))
      },
    }),
  )
  const parts = starting.move()
  return { url: listener.url, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

async function answer(
  acquire: () => ReturnType<Instances['acquire']>,
  request: IncomingRequest,
  response: HttpResponse,
): Promise<void> {
  const instance = await acquire()
  let relaying: ReturnType<typeof relay> | undefined
  const refuse = (error: ProtocolError) => sendProblem(response, error)
  const { body } = openBody(request, (error) => (relaying ? relaying.stop(error) : refuse(error)))
  const head = {
    method: request.method ?? 'GET',
    target: request.url ?? '/',
    rawHeaders: toProgramHeaders(request.rawHeaders, isNobodys),
  }
  relaying = relay({
    instance,
    request: body === undefined ? head : { ...head, body },
    response,
    callHeaders: [],
    keptBytesMax: 0,
    book: async () => ({ headers: [] }),
    refuse: (error) => sendProblem(response, toProtocolError(error)),
  })
}
