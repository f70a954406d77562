import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type ActivationCall,
  type Activations,
  canAttest,
  findActivation,
  readActivationParams,
} from '../../protocol/activation.ts'
import type { Log } from '../../protocol/base/log.ts'
import type { Outcome } from '../../protocol/call.ts'
import { explainNoEnv } from '../../protocol/deployment.ts'
import { ProtocolError, toProtocolError } from '../../protocol/errors.ts'
import { listen } from '../../protocol/http/listen.ts'
import type { IncomingRequest, OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { limits as protocolLimits } from '../../protocol/limits.ts'
import type { Params, ProgramId } from '../../protocol/program.ts'
import { type Attester, openAttester } from '../../provider/attest/attester.ts'
import { createDnsLookup } from '../../provider/egress/lookup-names.ts'
import { toActivationRequest } from '../../provider/http/activation-request.ts'
import { createBodyRoom, openBody, readWholeBody } from '../../provider/http/call-body.ts'
import { isNobodys, toProgramHeaders } from '../../provider/http/program-headers.ts'
import { relay } from '../../provider/http/relay.ts'
import { assertNoSwitch } from '../../provider/http/web-socket.ts'
import type { ProgramUse } from '../../provider/open-programs.ts'
import { createInstances, type Instances, type Launch } from '../../provider/runtime/instances.ts'
import type { NativeRoot } from '../../provider/runtime/native/binary.ts'
import { openRuntimes } from '../../provider/runtime/open-runtimes.ts'
import type { Instance, StartOptions } from '../../provider/runtime/runtime.ts'
import type { CommandContext } from '../command.ts'
import type { Env } from './env-file.ts'
import { computeIds, type PackedProgram } from './packed-program.ts'
import { createLocate, type Locate, locateError } from './source-map.ts'

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
  /** What the caller was told where there was no answer. */
  readonly problem: string | undefined
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
  readonly activations: Activations | undefined
  readonly programId: ProgramId
  readonly locate: Locate
  acquire(use: ProgramUse): Promise<Instance>
  /** Those that it has: one, or one for pages and one for activations that attest. */
  readonly instances: Set<Instance>
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
  let attester: Promise<Attester> | undefined
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
    let problem: string | undefined
    let instance: Instance | undefined
    if (generation) generation.calls++
    response.on('close', () => {
      onCall({
        method: request.method ?? 'GET',
        target: request.url ?? '/',
        status: response.writableFinished ? response.statusCode : undefined,
        outcome,
        problem,
        tookMs: clock.monotonicMs() - startedMs,
        memoryBytes: instance?.usage().memoryBytes,
      })
      if (!generation) return
      generation.calls--
      endReplaced(generation)
    })
    const refuse = (error: unknown) => {
      const told = toProtocolError(generation ? locateError(error, generation.locate) : error)
      problem = told.message
      sendProblem(response, told)
    }
    if (!generation) {
      refuse(failure)
      return
    }
    const facts = {
      onInstance: (one: Instance) => (instance = one),
      onOutcome: (how: Outcome) => (outcome = how),
      refuse,
    }
    answer(generation, { request, response }, facts).catch(refuse)
  }

  /** The last call is over, or there was none. */
  function endReplaced({ isReplaced, calls, instances }: Generation): void {
    if (!isReplaced || calls > 0) return
    for (const instance of instances)
      void instance.whenIdle().then(() => instance.kill({ kind: 'stopped', why: 'a new build replaced it' }))
  }

  /** With a key of its own, that nobody else will ever know. */
  async function openTrialAttester(): Promise<Attester> {
    const dir = await mkdtemp(join(tmpdir(), 'khachapuri-attest-'))
    running.defer(() => rm(dir, { recursive: true, force: true }))
    return running.use(await openAttester({ log }, dir))
  }

  const parts = starting.move()
  return {
    url: listener.url,
    async start({ program, env, params }) {
      const { runtime, entry, native, activations, capabilities, limits } = program.manifest
      const noEnv = explainNoEnv({ env, capabilities })
      if (noEnv !== undefined)
        throw new ProtocolError('deployment_invalid', noEnv, {
          hint: 'Take the lines out of .env, or "attest" out of the manifest.',
        })
      const { programId } = await computeIds(program.zip, params)
      const isNative = runtime === 'native'
      const locate = createLocate(program.sourceMap)
      const instances = await opened.getOrInsertComputed(isNative, () => open(isNative))
      const key = `build ${++builds}`
      const launch = async (attest?: StartOptions['attest']): Promise<Launch> => ({
        kind: runtime,
        program: { files: program.files, entry, native, activations, capabilities },
        options: {
          env,
          params,
          limits,
          attest,
          onOutput: (chunk) => note(locate(chunk.toString('utf8').trimEnd())),
        },
      })
      const acquire = (use: ProgramUse) => {
        if (use === 'pages' || !canAttest({ capabilities }))
          return instances.acquire(key, () => launch(), signal)
        const launchAttesting = async () => {
          attester ??= openTrialAttester()
          const { sign } = await attester
          return launch((message) => sign(programId, message))
        }
        return instances.acquire(`${key} attest`, launchAttesting, signal)
      }
      // A program that cannot start says so now, and not to its first caller.
      const first = await acquire('pages').catch((error) => {
        throw locateError(error, locate)
      })
      const next: Generation = {
        ...{ activations, programId, locate, acquire, instances: new Set([first]) },
        ...{ calls: 0, isReplaced: false },
      }
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

/** Who hears what of a call. */
interface AnswerFacts {
  readonly onInstance: (instance: Instance) => void
  readonly onOutcome: (outcome: Outcome) => void
  readonly refuse: (error: unknown) => void
}

async function answer(
  generation: Generation,
  { request, response }: { readonly request: IncomingRequest; readonly response: OutgoingResponse },
  { onInstance, onOutcome, refuse }: AnswerFacts,
): Promise<void> {
  const target = request.url ?? '/'
  const activation = findActivation(generation.activations, { method: request.method ?? 'GET', target })
  const given = activation && (await readParams(activation, request))
  const instance = await generation.acquire(activation ? 'activations' : 'pages')
  generation.instances.add(instance)
  onInstance(instance)
  let relaying: ReturnType<typeof relay> | undefined
  const body = given
    ? undefined
    : openBody(request, (error) => (relaying ? relaying.stop(error) : refuse(error))).body
  const head = {
    method: request.method ?? 'GET',
    target,
    rawHeaders: toProgramHeaders(request.rawHeaders, isNobodys),
    switchesTo: request.switchesTo,
  }
  relaying = relay({
    instance,
    request:
      activation && given
        ? toActivationRequest(activation.name, given, generation.programId)
        : { ...head, ...(body && { body }) },
    response,
    callHeaders: [],
    keptBytesMax: 0,
    book: async ({ outcome }) => {
      onOutcome(outcome)
      return { headers: [] }
    },
    refuse,
  })
}

async function readParams(activation: ActivationCall, request: IncomingRequest): Promise<Uint8Array> {
  assertNoSwitch(request)
  const bytesMax = protocolLimits.activationBodyBytesMax
  const { body } = await readWholeBody(request, { bytesMax, room: createBodyRoom(bytesMax) })
  return readActivationParams(activation, Buffer.isBuffer(body) ? body : Buffer.alloc(0))
}
