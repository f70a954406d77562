import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { createTestClock, systemClock } from '../../../protocol/base/clock.ts'
import { createTestLog } from '../../../protocol/base/log.ts'
import { openSwitch } from '../../../protocol/http/switch.ts'
import { limits } from '../../../protocol/limits.ts'
import { until } from '../../../test/support/tunnels.ts'
import type { CallOutcome, ProgramLimits } from '../runtime.ts'
import { createJsRuntime } from './js-runtime.ts'

/** A program's `WebSocketPair`, in workerd, as far as the socket of a caller. */

const program = `export default {
  fetch(request) {
    const { 0: theirs, 1: ours } = new WebSocketPair()
    ours.binaryType = 'arraybuffer'
    ours.accept()
    ours.addEventListener('message', ({ data }) => {
      if (data === 'spin') for (const end = Date.now() + 60_000; Date.now() < end;);
      if (data === 'close') ours.close(4001, 'as you like')
      else if (data === 'flood') for (let i = 0; i < 200; i++) ours.send(new Uint8Array(1000))
      else ours.send(typeof data === 'string' ? 'you said ' + data : data)
    })
    return new Response(null, { status: 101, webSocket: theirs, headers: { 'x-from': 'the program' } })
  },
}`

test('talks in text and bytes, and either end may close', async () => {
  await using world = await setup()
  const { socket, outcome } = await world.dial()
  socket.send('hello')
  expect(String((await once(socket, 'message'))[0])).toBe('you said hello')
  socket.send(Buffer.from([0, 1, 255]))
  expect((await once(socket, 'message'))[0]).toEqual(Buffer.from([0, 1, 255]))
  socket.send('close')
  expect((await once(socket, 'close'))[0]).toBe(4001)
  expect(await outcome).toEqual({ kind: 'answered' })

  const again = await world.dial()
  again.socket.close(1000)
  await once(again.socket, 'close')
  expect(await again.outcome).toEqual({ kind: 'answered' })
  expect(world.instance.inFlight).toBe(0)
})

test('goes on for longer than a call may take, as long as somebody speaks', async () => {
  await using world = await setup({ timeoutMs: 100 })
  const { socket, outcome } = await world.dial()
  for (
    let elapsedMs = 0;
    elapsedMs < 2 * limits.webSocketIdleMsMax;
    elapsedMs += limits.webSocketIdleMsMax / 2
  ) {
    socket.send('still here')
    await once(socket, 'message')
    world.clock.advance(limits.webSocketIdleMsMax / 2)
    await nextTurns()
  }
  expect(world.instance.inFlight).toBe(1)
  world.clock.advance(limits.webSocketMsMax)
  expect(await outcome).toEqual({ kind: 'answered', isCut: true })
})

test('lasts as long as its deployment says, told by a close code, whoever speaks', async () => {
  await using world = await setup({ webSocketMs: 60_000 })
  const { socket, outcome } = await world.dial()
  await world.clock.advance(59_000)
  socket.send('still here')
  await once(socket, 'message')
  expect(world.instance.inFlight).toBe(1)
  await world.clock.advance(2_000)
  expect(await outcome).toEqual({ kind: 'answered', isCut: true })
})

test('ends where nobody speaks, and was answered', async () => {
  await using world = await setup()
  const { socket, outcome } = await world.dial()
  const closed = once(socket, 'close')
  world.clock.advance(limits.webSocketIdleMsMax + 1_000)
  expect(await outcome).toEqual({ kind: 'answered', isCut: true })
  await closed
})

test('has the processor for as long as a call', async () => {
  await using world = await setup({ timeoutMs: 300 }, systemClock)
  const { socket, outcome } = await world.dial()
  socket.send('spin')
  expect(await outcome).toEqual({ kind: 'out_of_cpu', cpuMs: 300 })
})

test('sends as many bytes as an answer may have', async () => {
  await using world = await setup({ responseBytes: 100_000 })
  const { socket, outcome } = await world.dial()
  socket.send('flood')
  expect(await outcome).toEqual({ kind: 'output_too_large', bytesMax: 100_000 })
})

const nextTurns = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function setup(changes: Partial<ProgramLimits> = {}, realClock?: typeof systemClock) {
  await using starting = new AsyncDisposableStack()
  const never = new AbortController().signal
  const clock = createTestClock()
  const runtime = starting.use(
    await createJsRuntime({ clock: realClock ?? clock, log: createTestLog() }, { zygotes: 0 }, never),
  )
  const instance = starting.use(
    await runtime.start(
      { files: [{ path: 'index.js', bytes: Buffer.from(program) }], entry: 'index.js' },
      { env: {}, params: null, limits: { timeoutMs: 10_000, memoryMiB: 64, ...changes } },
      never,
    ),
  )
  const outcomes: Promise<CallOutcome>[] = []
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  starting.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  server.on('upgrade', (message, socket, head) => {
    const { request, response } = openSwitch(message, socket, head)
    const ended = Promise.withResolvers<CallOutcome>()
    outcomes.push(ended.promise)
    const exchange = instance.call(
      { method: 'GET', target: '/', rawHeaders: message.rawHeaders, body: request, switchesTo: 'websocket' },
      {
        onHead: (status, rawHeaders) => void response.writeHead(status, rawHeaders),
        onData: (chunk) => response.write(chunk) || exchange.pause(),
        onEnd(outcome) {
          ended.resolve(outcome)
          response.end()
        },
      },
    )
    response.on('drain', () => exchange.resume())
  })
  const parts = starting.move()
  return {
    clock,
    instance,
    async dial() {
      const { port } = server.address() as AddressInfo
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false })
      socket.on('error', () => undefined)
      const upgraded = once(socket, 'upgrade')
      await once(socket, 'open')
      expect((await upgraded)[0].headers['x-from']).toBe('the program')
      await until(() => outcomes.length > 0)
      return { socket, outcome: outcomes.pop() as Promise<CallOutcome> }
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
