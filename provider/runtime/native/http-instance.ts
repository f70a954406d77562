import { MiB } from '../../../protocol/base/bytes.ts'
import type { Clock } from '../../../protocol/base/clock.ts'
import { raceSignal } from '../../../protocol/base/signal.ts'
import type { EgressProxy } from '../../egress/egress-proxy.ts'
import { createInstance } from '../instance.ts'
import { ping } from '../ping.ts'
import { readBounded } from '../read-bounded.ts'
import type { Redact } from '../redact.ts'
import { type Death, type Instance, type StartOptions, toCallError } from '../runtime.ts'
import type { Cell } from '../sandbox/cell.ts'
import type { Watchdog } from '../watchdog.ts'
import { askToStop } from './ask-to-stop.ts'
import { createLastLine, describeExit } from './last-line.ts'
import { type ServerDoor, waitForServer } from './listening.ts'

export interface ServerOptions extends Pick<StartOptions, 'limits' | 'onOutput'> {
  /** What the sandbox is told. */
  readonly launch: Buffer
  readonly redact: Redact
  readonly startTimeoutMs: number
  /** Opens its way out, once it runs. */
  readonly openWayOut: (cell: Cell, signal: AbortSignal) => Promise<EgressProxy | undefined>
}

/**
 * Starts a program that stays and answers HTTP itself, and waits until it listens.
 *
 * @param cell - A sandbox that waits for what to run; belongs to the instance from now on.
 * @throws ProtocolError `program_crashed`, `program_timeout`, `program_out_of_memory`
 */
export async function startServer(
  { clock, watchdog }: { clock: Clock; watchdog: Watchdog },
  cell: Cell,
  { launch, limits, redact, onOutput, startTimeoutMs, openWayOut }: ServerOptions,
  signal: AbortSignal,
): Promise<Instance> {
  const lastLine = createLastLine()
  const print = (chunk: Buffer | string) => onOutput?.(Buffer.from(chunk))
  readBounded(clock, cell.stdout, cell.ended, print)
  readBounded(clock, cell.stderr, cell.ended, (chunk) => {
    lastLine.push(chunk)
    print(chunk)
  })
  cell.limitMemory(limits.memoryMiB * MiB)
  cell.stdin.end()
  cell.control.on('error', () => undefined).end(launch)
  const egress = await openWayOut(cell, signal)
  const door = await ready().catch(async (error) => {
    await egress?.[Symbol.asyncDispose]()
    throw error
  })
  const instance = createInstance({ clock, watchdog }, cell, {
    connect: door.connect,
    // Its own `GET /`: nothing else in there could tell whether it hangs.
    ping: () => ping(door.connect),
    limits,
    egress,
    readFault: () => undefined,
    explainExit,
    askToStop: () => askToStop(cell.pid),
  })
  void instance.whenDead.then(() => door[Symbol.dispose]())
  return instance

  function explainExit(exit: { code: number | null; signal: string | null }): Death {
    return { kind: 'crashed', message: describeExit(exit, lastLine.text, redact) }
  }

  async function ready(): Promise<ServerDoor> {
    const deadline = AbortSignal.timeout(startTimeoutMs)
    const over = AbortSignal.any([signal, deadline, cell.ended])
    const door = await waitForServer(clock, cell, over)
    if (door) return door
    signal.throwIfAborted()
    if (!cell.ended.aborted) throw toCallError({ kind: 'timeout', timeoutMs: startTimeoutMs })
    const exit = await raceSignal(cell.exited, signal)
    if (cell.wasOutOfMemory()) throw toCallError({ kind: 'out_of_memory', memoryMiB: limits.memoryMiB })
    throw toCallError({ kind: 'crashed', message: describeExit(exit, lastLine.text, redact) })
  }
}
