import { Agent, request } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import type { Target } from '../load.ts'
import type { Measurement } from '../measurement.ts'
import { startOrigin, startOwnWay, startRelay } from './setup.ts'

const kills = 10
const callers = 16

/** Connections that are reset ten times under load: what fails, and how long the longest waits. */
export const tunnelKills: Measurement = {
  name: 'tunnel-kills',
  title: 'Tunnel connections killed ten times under load',
  async run({ seconds, note }, signal) {
    const rows: (string | number)[][] = []
    for (const sockets of [1, 2, 4]) {
      await using parts = new AsyncDisposableStack()
      const origin = parts.use(await startOrigin(signal))
      const relay = parts.use(await startRelay({ rttMs: 0 }, signal))
      const own = parts.use(await startOwnWay({ origin, relay, sockets }, signal))
      const callFor = async (kill: () => void): Promise<Found> => {
        const over = new AbortController()
        const worked = Promise.all(Array.from({ length: callers }, () => callUntil(own.target, over.signal)))
        for (let killed = 0; killed < kills; killed++) {
          await setTimeout((seconds * 1000) / kills, undefined, { signal })
          kill()
        }
        await setTimeout(500, undefined, { signal })
        over.abort()
        return addUp(await worked)
      }
      note(`${sockets} sockets`)
      await callFor(() => undefined)
      const undisturbed = await callFor(() => undefined)
      const found = await callFor(() => process.kill(relay.pid, 'SIGUSR2'))
      rows.push([`${sockets} sockets`, found.calls, found.failures, found.longestMs, undisturbed.longestMs])
    }
    return {
      tables: [
        { caption: '', columns: ['', 'calls', 'failed', 'longest ms', 'longest ms, none killed'], rows },
      ],
      remarks: [
        `${callers} callers, each with an Idempotency-Key; a relay between client and gateway resets one connection, ${kills} times.`,
        'Before that they call for as long while nothing is killed: what a call waits for then, it waits for the machine.',
      ],
    }
  },
}

interface Found {
  readonly calls: number
  readonly failures: number
  readonly longestMs: number
}

function addUp(found: readonly Found[]): Found {
  return {
    calls: found.reduce((sum, { calls }) => sum + calls, 0),
    failures: found.reduce((sum, { failures }) => sum + failures, 0),
    longestMs: Math.max(...found.map(({ longestMs }) => longestMs)),
  }
}

/** Calls one after the other. */
async function callUntil(target: Target, over: AbortSignal): Promise<Found> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  let calls = 0
  let failures = 0
  let longestMs = 0
  while (!over.aborted) {
    const startMs = performance.now()
    if ((await call(target, agent)) !== 200) failures++
    longestMs = Math.max(longestMs, performance.now() - startMs)
    calls++
  }
  agent.destroy()
  return { calls, failures, longestMs }
}

function call(target: Target, agent: Agent): Promise<number> {
  return new Promise((resolve) => {
    const headers = { host: target.host ?? '', 'idempotency-key': crypto.randomUUID() }
    const sent = request(target.url, { agent, headers }, (answer) => {
      answer.on('end', () => resolve(answer.statusCode ?? 0)).on('error', () => resolve(0))
      answer.resume()
    })
    sent.on('error', () => resolve(0))
    sent.end()
  })
}
