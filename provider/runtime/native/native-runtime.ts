import type { Clock } from '../../../protocol/base/clock.ts'
import type { Log } from '../../../protocol/base/log.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import type { EgressNetwork } from '../../egress/connections.ts'
import { publicNetwork } from '../../egress/egress-network.ts'
import { createOwner } from '../owner.ts'
import { createRedact } from '../redact.ts'
import type { Instance, Probe, ProgramFiles, ProgramWishes, Runtime, StartOptions } from '../runtime.ts'
import type { Cell } from '../sandbox/cell.ts'
import { findCommand } from '../sandbox/executable.ts'
import { encodeLaunch } from '../sandbox/launch-image.ts'
import { createSandbox, type Sandbox } from '../sandbox/sandbox.ts'
import { createZygotes } from '../sandbox/zygotes.ts'
import { createWatchdog, type Watchdog } from '../watchdog.ts'
import { createAppFolder } from './app-folder.ts'
import { type AttackView, attackNatively } from './attack.ts'
import { assertRunnable, type NativeRoot, readBinary } from './binary.ts'
import { createCgiInstance } from './cgi-instance.ts'
import { formatEnvironment, formatRequest } from './environment.ts'
import { findGvisor } from './find-gvisor.ts'
import { startServer } from './http-instance.ts'
import { listenPath, listenPort } from './listening.ts'
import { listMounts } from './native-view.ts'
import { openGvisor } from './open-gvisor.ts'
import { openWayOut, proxyPort, proxyVariables } from './way-out.ts'

export interface NativeDeps {
  readonly clock: Clock
  readonly log: Log
  /** For programs with egress; public addresses by the DNS, where nothing else is said. */
  readonly network?: EgressNetwork | undefined
  /** Of all programs, as each has to know whether others have calls; one of its own by default. */
  readonly watchdog?: Watchdog | undefined
}

export const nativeWalls = ['bubblewrap', 'runsc'] as const
export type NativeWalls = (typeof nativeWalls)[number]

export interface NativeOptions {
  /** What of the host the programs can read. */
  readonly root: NativeRoot
  /** Bubblewrap, or gVisor, which puts a kernel of its own between a program and this machine's. */
  readonly walls?: NativeWalls | undefined
  /** Sandboxes that wait for the next call of one CGI program. */
  readonly zygotes?: number
  /** Until a server must listen. */
  readonly startTimeoutMs?: number
}

/**
 * Runs Linux binaries and scripts: a process per call in the CGI way, or a server that stays.
 *
 * @throws ProtocolError `sandbox_unavailable` where this machine cannot put walls around them
 */
export async function createNativeRuntime(
  { clock, log, network = publicNetwork(), watchdog: sharedWatchdog }: NativeDeps,
  options: NativeOptions,
  signal: AbortSignal,
): Promise<Runtime> {
  const {
    root,
    walls = 'bubblewrap',
    zygotes: count = limits.cgiZygotesMax,
    startTimeoutMs = limits.programStartTimeoutMs,
  } = options
  await using starting = new AsyncDisposableStack()
  const { sandbox, engine } = await openWalls({ log }, walls, signal)
  starting.use(sandbox)
  const isGvisor = walls === 'runsc'
  const watchdog =
    sharedWatchdog ?? starting.use(createWatchdog({ clock }, { intervalMs: limits.watchdogIntervalMs }))
  const mounts = listMounts(root)
  const owner = starting.use(createOwner())

  /** Nothing of gVisor's sockets can be handed over. */
  function assertTakes({ native = 'cgi', egress = 'none' }: ProgramWishes): void {
    if (isGvisor && (native === 'http' || egress !== 'none')) throw noDoors()
  }

  async function start(program: ProgramFiles, options: StartOptions, signal: AbortSignal): Promise<Instance> {
    const { entry, native = 'cgi' } = program
    assertRunnable(readBinary(findEntry(program), entry), entry, root)
    const args = [`/app/${entry}`]
    const { egress = 'none' } = options.limits
    const env = { ...proxyVariables(egress), ...formatEnvironment(options) }
    const doors = {
      ...(egress !== 'none' && { listenPort: proxyPort }),
      ...(native === 'http' && { connectPort: listenPort }),
    }
    const hasDoors = Object.keys(doors).length > 0
    assertTakes({ native, egress })
    const redact = createRedact(options.env)
    // Also for CGI, so that an environment that never fits is no matter of a call.
    const serverEnv = { ...env, LISTEN_SOCKET: listenPath, PORT: String(listenPort) }
    const launch = encodeLaunch({ args, env: serverEnv, doors })
    if (!launch) throw tooMuch('program_invalid', 'Its secrets and params')
    await using parts = new AsyncDisposableStack()
    const app = parts.use(await createAppFolder(sandbox, program, signal))
    const view = { app: app.path, user: app.user, mounts, hasDoors }
    const wayOut = (cell: Cell, signal: AbortSignal) =>
      openWayOut(cell, { network, egress, timeoutMs: startTimeoutMs }, signal)
    const spawn = (signal: AbortSignal) => sandbox.spawnNative(view, signal)
    let instance: Instance
    if (native === 'http') {
      const cell = parts.use(await spawn(signal))
      const serverOptions = { ...options, launch, redact, startTimeoutMs, openWayOut: wayOut }
      instance = await startServer({ clock, watchdog }, cell, serverOptions, signal)
    } else {
      const zygotes = parts.use(createZygotes({ spawn, clock, log }, { count }))
      zygotes.refill()
      instance = createCgiInstance(
        { clock, watchdog, ...zygotes, openWayOut: wayOut },
        {
          limits: options.limits,
          redact,
          onOutput: options.onOutput,
          onBreach: options.onBreach,
          launch(request) {
            const call = encodeLaunch({ args, env: { ...env, ...formatRequest(request) }, doors })
            if (call) return call
            throw tooMuch('bad_request', 'The head of the request')
          },
        },
      )
    }
    parts.use(instance)
    return owner.own(withParts(instance, parts.move()))
  }

  let probing: Promise<Probe> | undefined
  const parts = starting.move()
  return {
    kind: 'native',
    overheadMiB: isGvisor ? limits.gvisorMemoryMiB : 0,
    assertTakes,
    start,
    probe(signal) {
      probing ??= probe({ sandbox, engine }, { root, mounts, isGvisor }, signal).catch((error) => {
        // It was interrupted, which says nothing about the walls.
        probing = undefined
        throw error
      })
      return probing
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

interface OpenedWalls {
  readonly sandbox: Sandbox
  /** What builds them, in words. */
  readonly engine: string
}

/** @throws ProtocolError `sandbox_unavailable` */
async function openWalls(deps: { log: Log }, walls: NativeWalls, signal: AbortSignal): Promise<OpenedWalls> {
  if (walls === 'runsc') return openGvisor(deps, await findGvisor(signal), signal)
  const trialPath = await findCommand('bwrap')
  if (trialPath === undefined) throw unavailable(['Bubblewrap (bwrap) is not installed.'])
  await using starting = new AsyncDisposableStack()
  // bubblewrap itself is a binary that answers `--version`.
  const sandbox = starting.use(await createSandbox(deps, { mode: 'auto', trialPath }, signal))
  if (!sandbox.walls.namespaces || !sandbox.walls.seccomp) throw unavailable(sandbox.reasons)
  starting.move()
  return { sandbox, engine: 'bubblewrap' }
}

async function probe(
  { sandbox, engine }: OpenedWalls,
  view: AttackView,
  signal: AbortSignal,
): Promise<Probe> {
  const breaches = await attackNatively(sandbox, view, signal)
  const { cgroups, ownUser } = sandbox.walls
  // What runs as the provider's own user could be confused with the provider where a wall falls.
  const isRootShared = process.getuid?.() === 0 && !ownUser
  const isWhole = cgroups && !isRootShared
  return {
    tier: isWhole && breaches.length === 0 ? 'sandbox' : 'process',
    walls: sandbox.walls,
    reasons: [...sandbox.reasons, ...breaches],
    engine: `${engine}, root ${view.root}${view.isGvisor ? '; by cgi and without a network' : ''}`,
  }
}

/** An instance that takes its files and waiting sandboxes with it. */
function withParts(instance: Instance, parts: AsyncDisposableStack): Instance {
  const dispose = () => parts.disposeAsync()
  return Object.defineProperty(Object.create(instance) as Instance, Symbol.asyncDispose, { value: dispose })
}

function findEntry({ files, entry }: ProgramFiles): Uint8Array {
  const found = files.find(({ path }) => path === entry)
  if (found) return found.bytes
  throw new ProtocolError('program_invalid', `The entry "${entry.slice(0, 100)}" is not in the program.`, {
    hint: 'Name a file of the program in "entry".',
  })
}

function noDoors(): ProtocolError {
  return new ProtocolError(
    'runtime_unavailable',
    'This provider runs native programs in gVisor: by cgi, and without a network.',
    { hint: 'Deploy it as "native": "cgi" with egress "none", or to a provider without gVisor.' },
  )
}

function tooMuch(code: 'program_invalid' | 'bad_request', what: string): ProtocolError {
  return new ProtocolError(code, `${what} fit no environment of a Linux process.`, {
    hint: 'A variable has at most 128 KiB, all together 512 KiB, and no NUL.',
  })
}

function unavailable(reasons: readonly string[]): ProtocolError {
  return new ProtocolError(
    'sandbox_unavailable',
    `Native programs cannot be contained on this machine: ${reasons.join(' ')}`,
    { hint: 'Install bubblewrap, or start the provider without --native.' },
  )
}
