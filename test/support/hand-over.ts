import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { systemClock } from '../../protocol/base/clock.ts'
import { openGatewayFront } from './gateway-front.ts'
import { openOrigin } from './http-origin.ts'

/**
 * Two gateways on one port, one after the other, with callers who never stop: run in a network of its own, whose kernel
 * hands waiting connections over. Prints what became of the calls.
 */
await using provider = await openOrigin((_, response) => response.end('ok'))
const records = { alice: provider.url }
const options = { isShared: true, clock: systemClock, logsCalls: false }
const first = await openGatewayFront(records, { ...options, drainMs: 300 })
const { host, port } = first.gateway

let isOver = false
let calls = 0
let awaited: { readonly calls: number; readonly resolve: () => void } | undefined
const outcomes: Record<string, number> = {}

/** Resolves after as many more calls. */
async function more(count: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  awaited = { calls: calls + count, resolve }
  await promise
}

async function call(agent: Agent): Promise<string> {
  const outgoing = request({ host, port, agent, method: 'POST', headers: { host: 'alice.localhost' } })
  const answered = new Promise<string>((resolve, reject) => {
    outgoing.on('error', reject)
    outgoing.on('response', (response) => text(response).then(resolve, reject))
  })
  outgoing.end('body')
  return answered
}

async function keepCalling(): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  while (!isOver) {
    const outcome = await call(agent).catch((error: NodeJS.ErrnoException) => error.code ?? String(error))
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
    calls++
    if (awaited && calls >= awaited.calls) awaited.resolve()
  }
  agent.destroy()
}

const callers = Array.from({ length: 16 }, keepCalling)
await more(200)
await using second = await openGatewayFront(records, { ...options, port })
const before = provider.requests()
await first[Symbol.asyncDispose]()
const whileItLeft = provider.requests() - before
await more(200)
isOver = true
await Promise.all(callers)
console.log(JSON.stringify({ outcomes, whileItLeft, second: second.gateway.port === port }))
