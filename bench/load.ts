import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { readCpuTime } from './cpu-time.ts'
import type { CallOrder, CallResult, LoadOrder, LoadResult, Reply } from './load-order.ts'

/** What is called, and whose CPU time it costs. */
export interface Target {
  readonly name: string
  readonly url: string
  /** The `Host` header, where it is not the URL's. */
  readonly host?: string
  /** Instead of one: each call has the next of these. */
  readonly hosts?: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
  /** Processes on the way, by their roles; what they started counts under the second name, where there is one. */
  readonly processes: readonly TargetProcess[]
}

type Called = Pick<Target, 'url' | 'host' | 'hosts' | 'headers'>

export interface TargetProcess {
  readonly role: string
  readonly pid: number
  /** Under which name its children's time is told; else it is added to its own. */
  readonly childrenRole?: string
}

/** One round at one target. */
export interface Sample {
  /** Answered 2xx. */
  readonly requestsPerSecond: number
  /** Calls that were answered otherwise, or not at all. */
  readonly failures: number
  readonly p50Us: number
  readonly p99Us: number
  /** CPU time of a request by role, the generator's included; empty where it cannot be read. */
  readonly cpuUs: Readonly<Record<string, number>>
}

/** Where more fails, it is not the target that is measured. */
const failedShareMax = 0.01

/** Puts load on targets from one process of its own. */
export interface Load extends AsyncDisposable {
  run(target: Target, options: { readonly connections: number; readonly seconds: number }): Promise<Sample>
  /** One call over a new connection. @throws Error unless it is answered 200 */
  callOnce(target: Called): Promise<number>
}

/** @param wrk - Where it is; without it, autocannon makes the load. */
export function createLoad(wrk?: string): Load {
  const child = fork(join(import.meta.dirname, 'load-process.ts'), wrk === undefined ? [] : [wrk])
  const generator: TargetProcess = { role: 'generator', pid: child.pid as number }
  const ended = once(child, 'exit').then(() => {
    throw new Error('The load generator ended.')
  })
  ended.catch(() => undefined)

  /** One order at a time: the generator has one core at most. */
  async function ask<Result>(order: LoadOrder | CallOrder): Promise<Result> {
    const answered = once(child, 'message') as Promise<[Reply]>
    child.send(order)
    const [reply] = await Promise.race([answered, ended])
    if ('error' in reply) throw new Error(reply.error)
    return reply.result as Result
  }

  return {
    async run(target, { connections, seconds }) {
      const processes = [generator, ...target.processes]
      const before = readTimes(processes)
      const headers = headersOf(target)
      const { url, hosts } = target
      const order: LoadOrder = { kind: 'load', url, headers, connections, seconds, ...(hosts && { hosts }) }
      const { requests, failures, seconds: elapsed, p50Us, p99Us } = await ask<LoadResult>(order)
      if (failures > (requests + failures) * failedShareMax)
        throw new Error(`${target.name}: ${failures} of ${requests + failures} calls failed`)
      const after = readTimes(processes)
      const cpuUs = Object.fromEntries(
        [...after].map(([role, us]) => [role, (us - (before.get(role) ?? us)) / requests]),
      )
      return { requestsPerSecond: requests / elapsed, failures, p50Us, p99Us, cpuUs }
    },
    async callOnce(target) {
      const order: CallOrder = { kind: 'call', url: target.url, headers: headersOf(target) }
      const { status, durationMs } = await ask<CallResult>(order)
      if (status !== 200) throw new Error(`${target.url} answered ${status}`)
      return durationMs
    },
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.disconnect()
      await ended.catch(() => undefined)
    },
  }
}

const headersOf = ({ url, host, hosts, headers }: Called) => ({
  ...headers,
  host: host ?? hosts?.[0] ?? new URL(url).host,
})

function readTimes(processes: readonly TargetProcess[]): Map<string, number> {
  const times = new Map<string, number>()
  const add = (role: string, us: number) => times.set(role, (times.get(role) ?? 0) + us)
  for (const { role, pid, childrenRole } of processes) {
    const time = readCpuTime(pid)
    if (!time) continue
    add(role, time.ownUs)
    add(childrenRole ?? role, time.childrenUs)
  }
  return times
}
