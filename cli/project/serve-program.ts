import type { Log } from '../../protocol/base/log.ts'
import type { Outcome } from '../../protocol/call.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import { listen } from '../../protocol/http/listen.ts'
import type { IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import type { Params } from '../../protocol/program.ts'
import { createDnsLookup } from '../../provider/egress/lookup-names.ts'
import { openBody } from '../../provider/http/call-body.ts'
import { isNobodys, toProgramHeaders } from '../../provider/http/program-headers.ts'
import { relay } from '../../provider/http/relay.ts'
import { createInstances, type Instances, type Launch } from '../../provider/runtime/instances.ts'
import type { NativeRoot } from '../../provider/runtime/native/binary.ts'
import { openRuntimes } from '../../provider/runtime/open-runtimes.ts'
import type { Instance } from '../../provider/runtime/runtime.ts'
import type { CommandContext } from '../command.ts'
import type { Env } from './env-file.ts'
import type { PackedProgram } from './packed-program.ts'

export interface ServerOptions {
  /** 0 takes a free one. */
  readonly port: number
  /** What a native program sees of this machine. */
  readonly nativeRoot: NativeRoot
  /** Whether it may reach this machine and its network, where its manifest lists them. */
  readonly egressPrivate: boolean
  /** Hears of each call when it is over. */
  readonly onCall: (call: ServedCall) => void
}

/** One build of a program. */
export interface ProgramBuild {
  readonly program: PackedProgram
  readonly env: Env
  readonly params: Params
}

export interface ServedCall {
  readonly method: string
  readonly target: string
  /** Undefined where the answer broke off. */
  readonly status: number | undefined
  /** Undefined where no program was asked. */
  readonly outcome: Outcome | undefined
  readonly tookMs: number
  /** Of the program's process when the call was over, as far as the machine can tell. */
  readonly memoryBytes: number | undefined
}

/** Programs that answer on this machine, one at a time, in the sandbox in which a provider would run them; nobody pays. */
export interface ProgramServer extends AsyncDisposable {
  readonly url: URL
  /**
   * Starts a build. Once it can answer, new calls go to it; the one before ends when the calls that it has are over.
   *
   * @throws ProtocolError `sandbox_unavailable`, `runtime_unavailable`, and `program_…` where it does not start; the one before
   *   then goes on
   */
  start(build: ProgramBuild): Promise<void>
  /** What callers are told while there is no program. */
  fail(error: ProtocolError): void
}

/** A build that runs. */
interface Generation {
  acquire(): Promise<Instance>
  instance: Instance | undefined
  /** Calls that have come for it and are not over. */
  calls: number
  isReplaced: boolean
}

/** Serves a port of this machine; every path goes to the program. @throws ProtocolError `port_taken` */
export async function createProgramServer(
  log: Log,
  { port, nativeRoot, egressPrivate, onCall }: ServerOptions,
  { clock, note, signal }: CommandContext,
): Promise<ProgramServer> {
  await using starting = new AsyncDisposableStack()
  // Ends after the listener, so that nobody comes any more.
  const running = starting.use(new AsyncDisposableStack())
  /** Those with the native runtime and those without, each opened when it is needed. */
  const opened = new Map<boolean, Promise<Instances>>()
  let current: Generation | undefined
  const network = { lookup: createDnsLookup(), allowPrivate: egressPrivate }
  let builds = 0
  let failure = new ProtocolError('program_invalid', 'There is no program yet.', { hint: 'Wait a moment.' })

  const open = async (isNative: boolean): Promise<Instances> => {
    const native = isNative ? { root: nativeRoot } : undefined
    // One process in advance: enough to replace a program that has crashed.
    const { runtimes } = running.use(
      await openRuntimes({ clock, log, network }, { zygotes: 1, native }, signal),
    )
    return running.use(createInstances({ clock, log }, { runtimes }))
  }

  const listener = starting.use(
    await listen({
      host: '127.0.0.1',
      port,
      onRequest: (request, response) => serve(request as IncomingRequest, response),
      onSwitch: serve,
    }),
  )

  function serve(request: IncomingRequest, response: OutgoingResponse): void {
    const startedMs = clock.monotonicMs()
    const generation = current
    let outcome: Outcome | undefined
    if (generation) generation.calls++
    response.on('close', () => {
      onCall({
        method: request.method ?? 'GET',
        target: request.url ?? '/',
        status: response.writableFinished ? response.statusCode : undefined,
        outcome,
        tookMs: clock.monotonicMs() - startedMs,
        memoryBytes: generation?.instance?.usage().memoryBytes,
      })
      if (!generation) return
      generation.calls--
      endReplaced(generation)
    })
    const ask = generation ? answer(generation, { request, response }, (how) => (outcome = how)) : undefined
    if (ask) ask.catch((error) => sendProblem(response, toProtocolError(error)))
    else sendProblem(response, failure)
  }

  /** The last call is over, or there was none. */
  function endReplaced({ isReplaced, calls, instance }: Generation): void {
    if (!isReplaced || calls > 0 || !instance) return
    void instance.whenIdle().then(() => instance.kill({ kind: 'stopped', why: 'a new build replaced it' }))
  }

  const parts = starting.move()
  return {
    url: listener.url,
    async start({ program, env, params }) {
      const { runtime, entry, native, limits } = program.manifest
      const isNative = runtime === 'native'
      const instances = await opened.getOrInsertComputed(isNative, () => open(isNative))
      const key = `build ${++builds}`
      const launch = async (): Promise<Launch> => ({
        kind: runtime,
        program: { files: program.files, entry, native },
        options: { env, params, limits, onOutput: (chunk) => note(chunk.toString('utf8').trimEnd()) },
      })
      const acquire = () => instances.acquire(key, launch, signal)
      // A program that cannot start says so now, and not to its first caller.
      const next: Generation = { acquire, instance: await acquire(), calls: 0, isReplaced: false }
      const before = current
      current = next
      if (!before) return
      before.isReplaced = true
      endReplaced(before)
    },
    fail(error) {
      failure = error
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

async function answer(
  generation: Generation,
  { request, response }: { readonly request: IncomingRequest; readonly response: OutgoingResponse },
  onOutcome: (outcome: Outcome) => void,
): Promise<void> {
  const instance = await generation.acquire()
  generation.instance = instance
  let relaying: ReturnType<typeof relay> | undefined
  const refuse = (error: ProtocolError) => sendProblem(response, error)
  const { body } = openBody(request, (error) => (relaying ? relaying.stop(error) : refuse(error)))
  const head = {
    method: request.method ?? 'GET',
    target: request.url ?? '/',
    rawHeaders: toProgramHeaders(request.rawHeaders, isNobodys),
    switchesTo: request.switchesTo,
  }
  relaying = relay({
    instance,
    request: body === undefined ? head : { ...head, body },
    response,
    callHeaders: [],
    keptBytesMax: 0,
    book: async ({ outcome }) => {
      onOutcome(outcome)
      return { headers: [] }
    },
    refuse: (error) => sendProblem(response, toProtocolError(error)),
  })
}
