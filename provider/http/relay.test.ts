import { hash } from 'node:crypto'
import { createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { ProtocolError } from '../../protocol/errors.ts'
import type { OutgoingResponse } from '../../protocol/http/listener.ts'
import { sendProblem } from '../../protocol/http/problem-response.ts'
import { openSwitch } from '../../protocol/http/switch.ts'
import { limits } from '../../protocol/limits.ts'
import type { CallHandler, Instance } from '../runtime/runtime.ts'
import type { Booked } from './call-money.ts'
import { type Ending, type RelayOptions, relay } from './relay.ts'

/**
 * A caller over a real socket, and a program whose every move the test makes itself: only so can a test stand between an
 * answer's first and its last byte.
 */
async function setup({
  keptBytesMax = 0,
  waitsForBooks,
  method = 'GET',
}: Pick<Partial<RelayOptions>, 'keptBytesMax' | 'waitsForBooks'> & { method?: string } = {}) {
  const booked = Promise.withResolvers<Booked>()
  const endings: Ending[] = []
  const aborted = Promise.withResolvers<void>()
  const program = Promise.withResolvers<CallHandler>()
  const instance = {
    call(_request, handler) {
      program.resolve(handler)
      return { pause: () => {}, resume: () => {}, abort: () => aborted.resolve() }
    },
  } as Partial<Instance> as Instance
  const running = Promise.withResolvers<{ stop(error: ProtocolError): void }>()
  const bookingStarted = Promise.withResolvers<void>()
  const left = Promise.withResolvers<void>()

  const server = createServer((_request, response) => {
    const call = relay({
      instance,
      request: { method, target: '/', rawHeaders: [] },
      response: response as unknown as OutgoingResponse,
      callHeaders: ['Khachapuri-Call', '0x01'],
      keptBytesMax,
      book(ending) {
        endings.push(ending)
        bookingStarted.resolve()
        return booked.promise
      },
      refuse: (error, rawHeaders) => sendProblem(response as unknown as OutgoingResponse, error, rawHeaders),
      ...(waitsForBooks && { waitsForBooks }),
    })
    running.resolve(call)
    response.on('close', () => left.resolve())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const request = get({ port, agent: false, method })
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve).on('error', reject)
  })
  answer.catch(() => undefined)
  return {
    program: await program.promise,
    running: await running.promise,
    request,
    answer,
    booked,
    bookingStarted: bookingStarted.promise,
    endings,
    aborted: aborted.promise,
    /** The caller has gone, and the relay knows. */
    left: left.promise,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

async function readAll(answer: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of answer.setEncoding('utf8')) text += chunk
  return text
}

const answered = { kind: 'answered' } as const

test('an answer that is there at once leaves only after it was booked, with its digest', async () => {
  await using call = await setup()
  call.program.onHead(200, ['content-type', 'text/plain', 'content-length', '5'])
  call.program.onData(Buffer.from('hello'))
  call.program.onEnd(answered)
  await call.bookingStarted
  const early = await Promise.race([
    call.answer.then(() => 'sent'),
    new Promise((r) => setImmediate(() => r('held'))),
  ])
  expect(early).toBe('held')
  call.booked.resolve({ headers: [] })
  const answer = await call.answer
  expect(await readAll(answer)).toBe('hello')
  expect(answer.headers['content-digest']).toBe('sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:')
  expect(answer.headers['khachapuri-call']).toBe('0x01')
})

test('a stream goes out as it comes, and ends only after it was booked', async () => {
  await using call = await setup()
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  const answer = await call.answer
  const [chunk] = await new Promise<[Buffer]>((resolve) => answer.once('data', (data) => resolve([data])))
  expect(chunk.toString()).toBe('first')
  call.program.onEnd(answered)
  await call.bookingStarted
  expect(answer.complete).toBe(false)
  call.booked.resolve({ headers: [] })
  await readAll(answer)
  expect(answer.complete).toBe(true)
})

test('the head of a stream that is still silent does not wait for its first byte', async () => {
  await using call = await setup()
  call.program.onHead(200, ['content-type', 'text/event-stream'])
  const answer = await call.answer
  expect(answer.headers['content-type']).toBe('text/event-stream')
  call.program.onEnd(answered)
  call.booked.resolve({ headers: [] })
  expect(await readAll(answer)).toBe('')
})

test('the last piece of a known length waits for the books', async () => {
  await using call = await setup()
  call.program.onHead(200, ['content-length', '4'])
  call.program.onData(Buffer.from('ab'))
  const answer = await call.answer
  await new Promise((resolve) => answer.once('data', resolve))
  call.program.onData(Buffer.from('cd'))
  call.program.onEnd(answered)
  await call.bookingStarted
  expect(answer.complete).toBe(false)
  call.booked.resolve({ headers: [] })
  expect(await readAll(answer)).toBe('cd')
})

const waiting = { keptBytesMax: 8, waitsForBooks: { earlyHeaders: ['X-Paid', 'later'] } }

test('an answer that waits for the books has their headers in its head, and nothing of it is out before', async () => {
  await using call = await setup(waiting)
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  await new Promise((resolve) => setImmediate(resolve))
  call.program.onData(Buffer.from(','))
  call.program.onEnd(answered)
  await call.bookingStarted
  expect(call.endings[0]?.body?.toString()).toBe('first,')
  call.booked.resolve({ headers: ['X-Paid', 'now'] })
  const answer = await call.answer
  expect([answer.headers['x-paid'], await readAll(answer)]).toEqual(['now', 'first,'])
})

test('one that is too large to wait goes out with the early ones, whole but for its end', async () => {
  await using call = await setup(waiting)
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('12345678'))
  call.program.onData(Buffer.from('9'))
  const answer = await call.answer
  expect(answer.headers['x-paid']).toBe('later')
  call.program.onEnd(answered)
  await call.bookingStarted
  expect(answer.complete).toBe(false)
  call.booked.resolve({ headers: ['X-Paid', 'now'] })
  expect(await readAll(answer)).toBe('123456789')
})

test('what the books refuse is not given, and says so in their headers', async () => {
  await using call = await setup(waiting)
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('secret'))
  call.program.onEnd(answered)
  const refusal = new ProtocolError('payment_failed', 'The money is gone.', { hint: 'Pay.' })
  call.booked.resolve({ headers: ['X-Paid', 'never'], refusal })
  const answer = await call.answer
  expect([answer.statusCode, answer.headers['x-paid']]).toEqual([402, 'never'])
  expect(await readAll(answer)).not.toContain('secret')
})

test('a program may set no header of this network', async () => {
  await using call = await setup()
  call.booked.resolve({ headers: [] })
  call.program.onHead(200, ['Khachapuri-Call', '0xff', 'Connection', 'x', 'X-Own', '1'])
  call.program.onEnd(answered)
  const { headers } = await call.answer
  expect(headers['khachapuri-call']).toBe('0x01')
  expect(headers['x-own']).toBe('1')
})

test('an answer that cannot be booked is not given', async () => {
  await using call = await setup()
  call.program.onHead(200, ['content-length', '2'])
  call.program.onData(Buffer.from('ab'))
  call.program.onEnd(answered)
  call.booked.reject(new ProtocolError('ledger_unavailable', 'The disk is full.', { hint: 'Later.' }))
  const answer = await call.answer
  expect(answer.statusCode).toBe(503)
  expect(JSON.parse(await readAll(answer))).toMatchObject({ code: 'ledger_unavailable' })
})

test('a stream that cannot be booked breaks off instead of ending', async () => {
  await using call = await setup()
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  const answer = await call.answer
  call.program.onEnd(answered)
  call.booked.reject(new ProtocolError('ledger_unavailable', 'The disk is full.', { hint: 'Later.' }))
  await expect(readAll(answer)).rejects.toThrow()
})

test('a fault before the answer is a problem document, and is booked as a fault', async () => {
  await using call = await setup()
  call.booked.resolve({ headers: [] })
  call.program.onEnd({ kind: 'crashed', message: 'oh no' })
  const answer = await call.answer
  expect(answer.statusCode).toBe(502)
  expect(JSON.parse(await readAll(answer))).toMatchObject({ code: 'program_crashed' })
  expect(call.endings).toMatchObject([{ outcome: 'program_crashed', status: 502 }])
})

test('a caller who leaves has the work booked, and the program is told', async () => {
  await using call = await setup()
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  await call.answer
  call.request.destroy()
  await call.aborted
  expect(call.endings).toMatchObject([{ outcome: 'caller_gone', status: 499 }])
})

test('a call that is stopped from outside is nobody’s fault', async () => {
  await using call = await setup()
  call.booked.resolve({ headers: [] })
  call.running.stop(new ProtocolError('body_too_large', 'Too much.', { hint: 'Send less.' }))
  await call.aborted
  expect((await call.answer).statusCode).toBe(413)
  expect(call.endings).toMatchObject([{ outcome: 'platform_fault' }])
})

test('a caller who has a part of the answer pays, even where its request is stopped then', async () => {
  await using call = await setup()
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  const answer = await call.answer
  call.booked.resolve({ headers: [] })
  call.running.stop(new ProtocolError('body_too_large', 'Too much.', { hint: 'Send less.' }))
  await expect(readAll(answer)).rejects.toThrow()
  expect(call.endings).toMatchObject([{ outcome: 'caller_gone' }])
})

test('an answer that is kept is finished for its repetition when its caller leaves', async () => {
  await using call = await setup({ keptBytesMax: 10 })
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  await call.answer
  call.request.destroy()
  await call.left
  expect(call.endings).toEqual([])
  call.program.onData(Buffer.from(' last'))
  call.program.onEnd(answered)
  expect(call.endings).toMatchObject([{ outcome: 'answered', status: 200 }])
  expect(call.endings[0]?.body?.toString()).toBe('first last')
  call.booked.resolve({ headers: [] })
})

test('an answer that gets too large to be kept is not finished for a caller who has left', async () => {
  await using call = await setup({ keptBytesMax: 6 })
  call.program.onHead(200, [])
  call.program.onData(Buffer.from('first'))
  await call.answer
  call.request.destroy()
  await call.left
  call.program.onData(Buffer.from(' last'))
  await call.aborted
  expect(call.endings).toMatchObject([{ outcome: 'caller_gone', status: 499 }])
})

test('a head that is too large is the program’s fault, before anybody gets any of it', async () => {
  await using call = await setup()
  call.booked.resolve({ headers: [] })
  call.program.onHead(200, ['x-large', '"'.repeat(limits.answerHeaderBytesMax)])
  await call.aborted
  const answer = await call.answer
  expect(answer.statusCode).toBe(502)
  expect(JSON.parse(await readAll(answer))).toMatchObject({ code: 'program_headers_too_large' })
  expect(call.endings).toMatchObject([{ outcome: 'program_headers_too_large', status: 502 }])
})

test.each(['at once', 'as a stream'])(
  'a head that cannot be written ends one answer %s, and nothing else',
  async (how) => {
    await using call = await setup()
    call.booked.resolve({ headers: [] })
    call.program.onHead(200, ['x-broken', 'line\r\nbreak'])
    if (how === 'at once') call.program.onEnd(answered)
    else await call.aborted
    await expect(call.answer).rejects.toThrow()
    expect(call.endings).toHaveLength(1)
  },
)

test.each([
  ['longer', 'at once', ['abc']],
  ['longer', 'as a stream', ['a', 'bc']],
  ['shorter', 'at once', []],
  ['shorter', 'as a stream', ['a']],
])('a body that is %s than its length is the program’s fault, %s', async (how, pace, pieces) => {
  await using call = await setup()
  call.booked.resolve({ headers: [] })
  call.program.onHead(200, ['content-length', '2'])
  for (const [index, piece] of pieces.entries()) {
    if (index === 1) await call.answer
    call.program.onData(Buffer.from(piece))
  }
  if (how === 'longer') await call.aborted
  else if (pace === 'as a stream') await call.answer
  call.program.onEnd(answered)
  const answer = await call.answer
  if (pace === 'as a stream') await expect(readAll(answer)).rejects.toThrow()
  else expect(JSON.parse(await readAll(answer))).toMatchObject({ code: 'program_output_invalid' })
  expect(call.endings).toMatchObject([{ outcome: 'program_output_invalid', status: 502 }])
})

test.each([
  ['HEAD', 200],
  ['GET', 304],
] as const)('the length of what a %s (%i) leaves out is no fault', async (method, status) => {
  await using call = await setup({ method })
  call.booked.resolve({ headers: [] })
  call.program.onHead(status, ['content-length', '2'])
  call.program.onEnd(answered)
  expect((await call.answer).headers['content-length']).toBe('2')
  expect(call.endings).toMatchObject([{ outcome: 'answered', status }])
})

test('an answer is kept for its repetition only while it is small', async () => {
  await using small = await setup({ keptBytesMax: 4 })
  small.program.onHead(200, [])
  small.program.onData(Buffer.from('abcd'))
  small.program.onEnd(answered)
  await using large = await setup({ keptBytesMax: 4 })
  large.program.onHead(200, [])
  large.program.onData(Buffer.from('abcde'))
  large.program.onEnd(answered)
  expect(small.endings[0]?.body?.toString()).toBe('abcd')
  expect(large.endings[0]?.body).toBeUndefined()
})

test.each([
  ['its time is over', { kind: 'answered', isCut: true }, 1001],
  ['its program sends too much', { kind: 'output_too_large', bytesMax: 1 }, 1009],
  ['its program fails', { kind: 'crashed', message: 'ouch' }, 1011],
  ['its provider stops', { kind: 'stopped', message: 'later' }, 1012],
] as const)(
  'a WebSocket that ends because %s says so, but never in the middle of a frame',
  async (_, outcome, code) => {
    for (const isBetween of [true, false]) {
      await using call = await setupWebSocket()
      call.program.onHead(101, ['sec-websocket-accept', call.accept])
      await call.opened
      // A whole text frame, or the head of one.
      call.program.onData(isBetween ? Buffer.from([0x81, 2, 0x68, 0x69]) : Buffer.from([0x81, 9, 0x68]))
      call.program.onEnd(outcome)
      expect(await call.closed).toBe(isBetween ? code : 1006)
    }
  },
)

async function setupWebSocket() {
  const program = Promise.withResolvers<CallHandler>()
  const instance = {
    call(_request, handler) {
      program.resolve(handler)
      return { pause: () => {}, resume: () => {}, abort: () => {} }
    },
  } as Partial<Instance> as Instance
  const accept = Promise.withResolvers<string>()
  const server = createServer()
  server.on('upgrade', (message, socket, head) => {
    const { request, response } = openSwitch(message, socket, head)
    const key = `${message.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`
    accept.resolve(hash('sha1', key, 'base64'))
    relay({
      instance,
      request: { method: 'GET', target: '/', rawHeaders: [], body: request, switchesTo: 'websocket' },
      response,
      callHeaders: [],
      keptBytesMax: 0,
      book: async () => ({ headers: [] }),
      refuse: (error) => sendProblem(response, error),
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const client = new WebSocket(`ws://127.0.0.1:${port}/`, { perMessageDeflate: false })
  client.on('error', () => undefined)
  return {
    program: await program.promise,
    accept: await accept.promise,
    opened: new Promise((resolve) => client.once('open', resolve)),
    closed: new Promise<number>((resolve) => client.once('close', resolve)),
    async [Symbol.asyncDispose]() {
      client.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
