import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { RuntimeKind } from '../../protocol/program.ts'
import { createRestarts } from './restarts.ts'
import type { Breach, Death, Instance, ProgramFiles, Runtime, StartOptions } from './runtime.ts'

/** The programs that run now, one instance per deployment, started when they are called and kept while they are. */
export interface Instances extends AsyncDisposable {
  /**
   * The running instance of a deployment. Callers at the same time share one start; one caller's leaving does not
   * end it for the others.
   *
   * @param key - Names the deployment, with everything that distinguishes its processes.
   * @param load - Called only where there is no instance.
   * @param needs - What the process may hold; the others make room for it.
   * @throws ProtocolError `provider_busy` where there is no room; `program_resting` while a program that died several
   * times waits to be started again; what `load` and `Runtime.start` throw.
   */
  acquire(
    key: string,
    load: (signal: AbortSignal) => Promise<Launch>,
    signal: AbortSignal,
    needs?: { readonly memoryMiB: number },
  ): Promise<Instance>
  /** Changes what all of them may hold together; those that are idle make room for less. */
  setCapacity(capacityMiB: number): void
  /** Ends those that run now; their calls end as `stopped`. */
  endAll(why: string): void
  /** How many run or start. */
  readonly count: number
  /** How many died so often that they are not started now. */
  readonly resting: number
  /** How often that was decided. */
  readonly rests: number
}

/** What to start, and how. */
export interface Launch {
  readonly kind: RuntimeKind
  readonly program: ProgramFiles
  readonly options: StartOptions
  /** Hears why there is no process, where that is not the program's fault: calls do not tell of it. */
  readonly onNotStarted?: (error: ProtocolError) => void
  /** Hears how the process ended. */
  readonly onDeath?: (death: Death) => void
  /** Hears that it died so often that it is not started again for this long. */
  readonly onRest?: (restMs: number) => void
}

export interface InstancesOptions {
  readonly runtimes: readonly Runtime[]
  readonly instancesMax?: number
  readonly instanceIdleMsMax?: number
  /** What all of them may hold together; as much as they like by default. */
  readonly capacityMiB?: number
  /** How long a program rests at most that dies again and again; asked at each death. */
  readonly restMsMax?: (() => number) | undefined
}

interface Entry {
  readonly key: string
  readonly memoryMiB: number
  starting: Promise<Instance> | undefined
  instance: Instance | undefined
  /** How many calls it had answered when a process of its was ended, while it went on itself. */
  answeredAtBreach: number | undefined
  usedMs: number
  /** Which of all uses its last one was: more often than the clock ticks. */
  lastUse: number
}

/** Disposing waits for the calls in flight, for as long as a shutdown may take, and then ends every program. */
export function createInstances(
  { clock, log }: { clock: Clock; log: Log },
  {
    runtimes,
    instancesMax = limits.instancesMax,
    instanceIdleMsMax = limits.instanceIdleMsMax,
    capacityMiB: initialCapacityMiB = Number.POSITIVE_INFINITY,
    restMsMax = () => limits.programRestSecondsDefault * 1000,
  }: InstancesOptions,
): Instances {
  const stopping = new AbortController()
  const entries = new Map<string, Entry>()
  const restarts = createRestarts({ clock }, { restMsMax })
  const ending = new Map<Promise<void>, Entry>()
  let capacityMiB = initialCapacityMiB
  let uses = 0
  let sweeping: Promise<void> | undefined

  async function start(entry: Entry, load: (signal: AbortSignal) => Promise<Launch>): Promise<Instance> {
    const startedMs = clock.monotonicMs()
    let launch: Launch | undefined
    try {
      launch = await load(stopping.signal)
      const { kind, program, options, onDeath } = launch
      // What makes room holds its memory until it has gone.
      if (heldMiB(entries.values()) + heldMiB(ending.values()) > capacityMiB) {
        await Promise.allSettled(ending.keys())
      }
      const instance = await findRuntime(kind).start(
        program,
        { ...options, onBreach: (breach) => countBreach(entry, launch, breach) },
        stopping.signal,
      )
      if (stopping.signal.aborted) {
        await instance[Symbol.asyncDispose]()
        throw stopping.signal.reason
      }
      entry.instance = instance
      entry.starting = undefined
      void instance.whenDead.then((death) => {
        onDeath?.(death)
        remove(entry)
        if (death.kind === 'stopped') return
        log.info('program_died', { deployment: entry.key, death: death.kind })
        const { callsAnswered } = instance
        countDeath(entry, launch, { startedMs, callsAnswered, why: wordsOf[death.kind] })
      })
      log.debug('program_started', { deployment: entry.key })
      return instance
    } catch (error) {
      remove(entry)
      if (!isProtocolError(error)) throw error
      if (!error.code.startsWith('program_')) launch?.onNotStarted?.(error)
      else countDeath(entry, launch, { startedMs, callsAnswered: 0, why: 'it did not start' })
      throw error
    }
  }

  function findRuntime(kind: RuntimeKind): Runtime {
    const runtime = runtimes.find((one) => one.kind === kind)
    if (runtime) return runtime
    throw new ProtocolError('runtime_unavailable', `This provider does not run ${kind} programs.`, {
      hint: 'Deploy to a provider that does.',
    })
  }

  function countDeath(
    { key }: Entry,
    launch: Launch | undefined,
    { why, ...end }: { startedMs: number; callsAnswered: number; why: string },
  ): void {
    const restMs = restarts.died(key, end, why)
    if (restMs === undefined || restMs === 0) return
    log.info('program_rests', { deployment: key, restMs })
    launch?.onRest?.(restMs)
  }

  function countBreach(entry: Entry, launch: Launch | undefined, breach: Breach): void {
    const answered = entry.instance?.callsAnswered ?? 0
    const callsAnswered = answered - (entry.answeredAtBreach ?? 0)
    entry.answeredAtBreach = answered
    countDeath(entry, launch, { ...breach, callsAnswered, why: wordsOf[breach.kind] })
  }

  function remove(entry: Entry): void {
    if (entries.get(entry.key) === entry) entries.delete(entry.key)
  }

  function end(entry: Entry, why: string): void {
    remove(entry)
    entry.instance?.kill({ kind: 'stopped', why })
    if (!entry.instance) return
    const ended = Promise.resolve(entry.instance[Symbol.asyncDispose]())
    ending.set(ended, entry)
    void ended.finally(() => ending.delete(ended))
  }

  /** @returns whether one more fits now. */
  function makeRoom(memoryMiB: number): boolean {
    while (entries.size >= instancesMax || heldMiB(entries.values()) + memoryMiB > capacityMiB) {
      if (!endIdle()) return false
    }
    return true
  }

  /** Ends the one that was called longest ago of those that do nothing. @returns whether there was one */
  function endIdle(): boolean {
    const idle = [...entries.values()].filter(({ instance }) => instance?.inFlight === 0)
    const [first] = idle.sort((a, b) => a.lastUse - b.lastUse)
    if (first) end(first, 'it made room for another')
    return first !== undefined
  }

  /** Ends what nobody has called for a while. */
  async function sweep(): Promise<void> {
    while (entries.size > 0) {
      await clock.sleep(instanceIdleMsMax / 4, stopping.signal)
      const beforeMs = clock.monotonicMs() - instanceIdleMsMax
      for (const entry of entries.values()) {
        const isIdle = entry.instance?.inFlight === 0 && entry.usedMs <= beforeMs
        if (isIdle) end(entry, 'it was idle')
      }
    }
  }

  /** Until what died is counted, and its memory is free. The kernel may take its time; callers do not wait for ever. */
  async function gone({ whenDead }: Instance): Promise<void> {
    const patience = new AbortController()
    const late = clock.sleep(limits.programGoneMsMax, patience.signal).catch(() => undefined)
    await Promise.race([whenDead, late])
    patience.abort()
  }

  function startSweeping(): void {
    sweeping ??= sweep()
      .catch(() => undefined)
      .finally(() => {
        sweeping = undefined
      })
  }

  function begin(
    key: string,
    load: (signal: AbortSignal) => Promise<Launch>,
    memoryMiB: number,
  ): Promise<Instance> {
    restarts.assertRested(key)
    if (!makeRoom(memoryMiB)) throw busyError('The places and the memory for programs are taken.')
    const usedMs = clock.monotonicMs()
    const lastUse = ++uses
    const entry: Entry = {
      ...{ key, memoryMiB, starting: undefined, instance: undefined, answeredAtBreach: undefined },
      ...{ usedMs, lastUse },
    }
    entries.set(key, entry)
    entry.starting = start(entry, load)
    // Everybody who waits hears of a failure; that nobody waits any more is no failure of its own.
    entry.starting.catch(() => undefined)
    startSweeping()
    return entry.starting
  }

  return {
    get count() {
      return entries.size
    },
    get resting() {
      return restarts.resting
    },
    get rests() {
      return restarts.rests
    },
    endAll(why) {
      for (const entry of [...entries.values()]) end(entry, why)
    },
    setCapacity(wanted) {
      capacityMiB = wanted
      while (heldMiB(entries.values()) > capacityMiB && endIdle());
    },
    async acquire(key, load, signal, { memoryMiB } = { memoryMiB: 0 }) {
      stopping.signal.throwIfAborted()
      signal.throwIfAborted()
      let entry = entries.get(key)
      // Nobody's call should fail for what another one did: it waits for the verdict, and for a new process if need be.
      while (entry?.instance && entry.instance.isAlive !== true) {
        if (!(await raceSignal(Promise.resolve(entry.instance.isAlive), signal))) {
          await raceSignal(gone(entry.instance), signal)
          remove(entry)
        }
        entry = entries.get(key)
      }
      if (!entry) return raceSignal(begin(key, load, memoryMiB), signal)
      if (!entry.instance) return raceSignal(entry.starting!, signal)
      if (entry.answeredAtBreach !== undefined) restarts.assertRested(key)
      if (entry.instance.inFlight >= limits.callsInFlightPerInstanceMax) {
        throw busyError(`The program has ${entry.instance.inFlight} calls in flight already.`)
      }
      entry.usedMs = clock.monotonicMs()
      entry.lastUse = ++uses
      return entry.instance
    },
    async [Symbol.asyncDispose]() {
      stopping.abort(stoppingError())
      const live = [...entries.values()]
      const idle = Promise.allSettled(live.map((entry) => entry.instance?.whenIdle()))
      const patience = new AbortController()
      await Promise.race([idle, clock.sleep(limits.shutdownTimeoutMs, patience.signal)])
      patience.abort()
      for (const entry of live) end(entry, 'the provider is shutting down')
      await Promise.allSettled([...live.map(({ starting }) => starting), ...ending.keys(), sweeping])
    },
  }
}

/** What callers are told of a death. What a program said itself is its owner's affair. */
const wordsOf: Readonly<Record<Exclude<Death['kind'], 'stopped'> | Breach['kind'], string>> = {
  crashed: 'it crashed',
  timeout: 'a call took too long, and it no longer answered',
  out_of_memory: 'it needed more memory than it may have',
  out_of_cpu: 'a call took more processor time than it may have',
  out_of_pids: 'it needed more processes than it may have',
}

const heldMiB = (entries: Iterable<Entry>): number => {
  let sum = 0
  for (const { memoryMiB } of entries) sum += memoryMiB
  return sum
}

function busyError(message: string): ProtocolError {
  const retryAfterSeconds = limits.busyRetryAfterSeconds
  return new ProtocolError('provider_busy', message, {
    hint: `Send it again in ${retryAfterSeconds} s.`,
    details: { retryAfterSeconds },
  })
}

function stoppingError(): ProtocolError {
  return new ProtocolError('sandbox_unavailable', 'The provider is shutting down.', {
    hint: 'Send the call again, or to another provider.',
  })
}
