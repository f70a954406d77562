import { randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { createConnection } from 'node:net'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { MiB } from '../../../protocol/base/bytes.ts'
import type { Clock } from '../../../protocol/base/clock.ts'
import type { Log } from '../../../protocol/base/log.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import { type Egress, explainNoEgress } from '../../../protocol/egress.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import type { RuntimeKind } from '../../../protocol/program.ts'
import { type AttestChannel, openAttestChannel } from '../../attest/attest-channel.ts'
import { lendToCalls } from '../../attest/lend-to-calls.ts'
import type { EgressNetwork } from '../../egress/connections.ts'
import { publicNetwork } from '../../egress/egress-network.ts'
import { type EgressProxy, openEgressProxy } from '../../egress/egress-proxy.ts'
import { connectProgram } from '../connect-program.ts'
import { createInstance } from '../instance.ts'
import { jsConvention } from '../js/js-modules.ts'
import { createOwner } from '../owner.ts'
import { ping } from '../ping.ts'
import { createRedact, type Redact } from '../redact.ts'
import {
  type CallOutcome,
  type Death,
  type Probe,
  type ProgramFiles,
  type Runtime,
  toCallError,
} from '../runtime.ts'
import type { Cell } from '../sandbox/cell.ts'
import { createSandbox, type SandboxOptions } from '../sandbox/sandbox.ts'
import { createZygotes } from '../sandbox/zygotes.ts'
import { attackOurselves, type SelfTestDeps } from '../self-test.ts'
import { createWatchdog, type Watchdog } from '../watchdog.ts'
import { encodeWorkerdConfig, sockets, type WorkerModule } from './config.ts'
import { findStartError, isHeapExhausted, readFault } from './fault.ts'
import { type Output, readOutput } from './output.ts'

export interface WorkerdDeps {
  readonly clock: Clock
  readonly log: Log
  /** For programs with egress; public addresses by the DNS, where nothing else is said. */
  readonly network?: EgressNetwork | undefined
  /** Of all programs, as each has to know whether others have calls; one of its own by default. */
  readonly watchdog?: Watchdog | undefined
}

/** How a kind of program becomes a worker. */
export interface Convention {
  readonly kind: RuntimeKind
  /**
   * The modules of its worker; those that are not the program's own turn what is no answer into a fault.
   *
   * @param token - What a fault begins with.
   * @throws ProtocolError `program_invalid`
   */
  toModules(program: ProgramFiles, token: string): readonly WorkerModule[]
  /** What of the platform its programs do without. */
  readonly compatibilityFlags?: readonly string[]
}

/** workerd on this machine: its binary, its sandbox, and processes that wait for a program of any kind. */
export interface Workerd extends AsyncDisposable {
  /** The runtime of one kind. It lives as long as this, and disposing it does nothing. */
  runtime(convention: Convention): Runtime
}

export interface WorkerdOptions {
  /** `process` leaves bubblewrap out: for development machines, and for measuring. */
  readonly mode?: SandboxOptions['mode']
  /** Processes that are started in advance. */
  readonly zygotes?: number
  /** Until a program must have evaluated its modules. */
  readonly startTimeoutMs?: number
}

/** Starts programs in workerd, one sandboxed process each. */
export async function openWorkerd(
  { clock, log, network = publicNetwork(), watchdog: sharedWatchdog }: WorkerdDeps,
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Workerd> {
  const {
    mode = 'auto',
    zygotes: count = limits.zygotesMax,
    startTimeoutMs = limits.programStartTimeoutMs,
  } = options
  await using starting = new AsyncDisposableStack()
  const workerdPath = findWorkerd()
  const sandbox = starting.use(await createSandbox({ log }, { mode, trialPath: workerdPath }, signal))
  const executable = await sandbox.prepare(workerdPath, signal)
  const watchdog =
    sharedWatchdog ?? starting.use(createWatchdog({ clock }, { intervalMs: limits.watchdogIntervalMs }))
  const spawn = (signal: AbortSignal) => sandbox.spawn({ executable, args: formatWorkerdArgs }, signal)
  const zygotes = starting.use(createZygotes({ spawn, clock, log }, { count }))
  const instances = starting.use(createOwner())
  zygotes.refill()

  let probing: Promise<Probe> | undefined
  /** One answer for all kinds: they are all behind the same walls. */
  function probeOnce(signal: AbortSignal): Promise<Probe> {
    probing ??= probe(
      { sandbox, runtime: createRuntime(jsConvention), isMachineOpen: network.allowPrivate },
      signal,
    ).catch((error) => {
      // It was interrupted, which says nothing about the walls.
      probing = undefined
      throw error
    })
    return probing
  }

  const createRuntime = ({ kind, toModules, compatibilityFlags }: Convention): Runtime => ({
    kind,
    overheadMiB: limits.runtimeMemoryMiB,
    probe: probeOnce,
    async start(program, { env, params, limits: programLimits, attest, onOutput }, signal) {
      const token = randomBytes(16).toString('hex')
      const { memoryMiB } = programLimits
      const redact = createRedact(env)
      const { egress = 'none' } = programLimits
      assertEgress(kind, egress)
      const modules = toModules(program, token)
      const settings = { env, params, memoryMiB, compatibilityFlags }
      const closedConfig = encodeWorkerdConfig(modules, settings)
      const cell = await zygotes.take(signal)
      let proxy: EgressProxy | undefined
      let channel: AttestChannel | undefined
      try {
        if (egress !== 'none') {
          proxy = await openEgressProxy(
            { network },
            { at: { socketPath: join(cell.folder, socketNames.egress) }, egress },
          )
        }
        if (attest) {
          channel = await openAttestChannel(
            { sign: attest },
            { socketPath: join(cell.folder, socketNames.attest) },
          )
        }
        const inside = (name: string) => join(cell.insideFolder, name)
        const config =
          proxy || channel
            ? encodeWorkerdConfig(modules, {
                ...settings,
                ...(proxy && { egressPath: inside(socketNames.egress) }),
                ...(channel && { attestPath: inside(socketNames.attest) }),
              })
            : closedConfig
        cell.limitMemory((memoryMiB + limits.runtimeMemoryMiB) * MiB)
        const output = readOutput({ clock }, cell)
        await startProgram(cell, { config, output, memoryMiB, startTimeoutMs, redact }, signal)
        output.forwardTo(onOutput)
        const instance = createInstance({ clock, watchdog }, cell, {
          connect: () => connectProgram(join(cell.folder, socketNames.main)),
          ping: () => ping(() => createConnection(join(cell.folder, socketNames.ping))),
          limits: programLimits,
          egress: proxy,
          readFault(status, rawHeaders) {
            const fault = readFault(status, rawHeaders, token)
            return fault && { ...fault, message: redact(fault.message) }
          },
          explainExit: (exit) => explainExit(exit, output, redact),
        })
        return instances.own(channel ? lendToCalls(instance, channel) : instance)
      } catch (error) {
        await Promise.all([cell, proxy, channel].map((part) => part?.[Symbol.asyncDispose]()))
        throw error
      } finally {
        zygotes.refill(limits.zygoteRestMs)
      }
    },
    [Symbol.asyncDispose]: async () => undefined,
  })

  const parts = starting.move()
  return { runtime: createRuntime, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

/** One kind with a workerd of its own. */
export async function createWorkerdRuntime(
  deps: WorkerdDeps,
  convention: Convention,
  options: WorkerdOptions,
  signal: AbortSignal,
): Promise<Runtime> {
  const workerd = await openWorkerd(deps, options, signal)
  return {
    ...workerd.runtime(convention),
    [Symbol.asyncDispose]: () => Promise.resolve(workerd[Symbol.asyncDispose]()),
  }
}

/** Strangers' programs run only where every wall stands and none of our own attacks came through. */
async function probe(deps: SelfTestDeps, signal: AbortSignal): Promise<Probe> {
  const { sandbox } = deps
  const breaches = await attackOurselves(deps, signal)
  const { namespaces, seccomp, cgroups, ownUser } = sandbox.walls
  const isRootShared = process.getuid?.() === 0 && !ownUser
  const isWhole = namespaces && seccomp && cgroups && !isRootShared
  return {
    tier: isWhole && breaches.length === 0 ? 'sandbox' : 'process',
    walls: sandbox.walls,
    reasons: [...sandbox.reasons, ...breaches],
    engine: `workerd ${workerdVersion()}`,
  }
}

interface StartFacts {
  readonly config: Buffer
  readonly output: Output
  readonly memoryMiB: number
  readonly startTimeoutMs: number
  readonly redact: Redact
}

/** Hands a process its program and waits until it listens. @throws what went wrong, as a `ProtocolError`. */
async function startProgram(cell: Cell, facts: StartFacts, signal: AbortSignal): Promise<void> {
  const { config, output, memoryMiB, startTimeoutMs, redact } = facts
  const deadline = AbortSignal.timeout(startTimeoutMs)
  cell.stdin.end(config)
  try {
    const both = AbortSignal.any([signal, deadline])
    const isListening = await raceSignal(
      Promise.race([listening(cell.control), cell.exited.then(() => false)]),
      both,
    )
    if (isListening) return
  } catch (error) {
    signal.throwIfAborted()
    if (deadline.aborted) throw toCallError({ kind: 'timeout', timeoutMs: startTimeoutMs })
    throw error
  }
  const exit = await cell.exited
  if (cell.wasOutOfMemory()) throw toCallError({ kind: 'out_of_memory', memoryMiB })
  const death = explainExit(exit, output, redact)
  throw toCallError(
    death.kind === 'crashed' ? death : ({ kind: 'out_of_memory', memoryMiB } satisfies CallOutcome),
  )
}

/** Resolves once workerd has said of both sockets that it listens. */
async function listening(control: Readable): Promise<true> {
  let text = ''
  for await (const chunk of control) {
    text += String(chunk)
    if (text.split('"listen"').length > 2) return true
  }
  return new Promise(() => undefined) // It ended, which `exited` tells.
}

function explainExit(
  { code, signal }: { code: number | null; signal: string | null },
  output: Output,
  redact: Redact,
): Death {
  if (isHeapExhausted(output.errorTail)) return { kind: 'out_of_memory' }
  const how = signal ? `on ${signal}` : `with code ${code}`
  return { kind: 'crashed', message: redact(findStartError(output.errorTail) ?? `Its process ended ${how}.`) }
}

/** Names of the sockets in the folder that a program shares with its provider. */
const socketNames = { main: 's', ping: 'p', egress: 'e', attest: 'a' } as const

/** workerd that reads its configuration from standard input, and therefore waits until that ends. */
function formatWorkerdArgs(folder: string): string[] {
  return [
    ...['serve', '--binary', '-'],
    ...['--socket-addr', `${sockets.main}=unix:${folder}/${socketNames.main}`],
    ...['--socket-addr', `${sockets.ping}=unix:${folder}/${socketNames.ping}`],
    ...['--control-fd', '3'],
  ]
}

function assertEgress(kind: RuntimeKind, egress: Egress): void {
  const reason = explainNoEgress(kind, egress)
  if (reason === undefined) return
  throw new ProtocolError('deployment_invalid', reason, { hint: 'Deploy it with egress "none".' })
}

/** Where npm put workerd's binary. */
function findWorkerd(): string {
  return readWorkerdPackage().default
}

function workerdVersion(): string {
  return readWorkerdPackage().version
}

function readWorkerdPackage(): { readonly default: string; readonly version: string } {
  return createRequire(import.meta.url)('workerd')
}
