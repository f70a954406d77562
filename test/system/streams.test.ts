import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { get, type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { canRunNatively } from '../../provider/runtime/native/testing/compile.ts'
import { nothing, openMarket, type TestMarket } from '../support/market.ts'

/** What lasts: WebSockets and streams of events, by their examples, paid and through both ways to a provider. */

const examples = join(import.meta.dirname, '../../examples')
const both = ['--provider', 'alice', '--provider', 'bob']
const ways = ['alice', 'bob'] as const

let at: TestMarket
beforeAll(async () => {
  at = await openMarket(canRunNatively ? { native: { root: 'none' } } : {})
})
afterAll(() => at[Symbol.asyncDispose]())

describe('a WebSocket of a js program', () => {
  let cid: string
  beforeAll(async () => {
    const folder = join(at.user.dir, 'talk')
    await mkdir(folder)
    await writeFile(join(folder, 'index.js'), talk)
    await writeFile(join(folder, 'khachapuri.json'), JSON.stringify({ name: 'talk', entry: 'index.js' }))
    cid = (await at.deploy('talk', ...both, '--payer', 'caller')).cid
  })

  test.each(ways)('is one paid call at %s, however much is said, with its receipt', async (provider) => {
    const costs = await at.costsOf(async () => {
      const socket = dial(provider, cid, { authorization: `Bearer ${await at.pass()}` })
      const [[{ headers }]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])
      for (const word of ['one', 'two', 'three']) {
        socket.send(word)
        expect(String((await once(socket, 'message'))[0])).toBe(`you said ${word}`)
      }
      socket.close(1000)
      await once(socket, 'close')
      expect(headers['khachapuri-price']).toBe('500')
      const receipt = await readReceipt(provider, headers)
      expect(receipt).toMatchObject({ status: 101, outcome: 'answered', price: '500' })
    })
    expect(costs).toEqual({ paid: { payer: 500n }, earned: { [provider]: 500n } })
  })

  test.each(ways)('is paid at %s by who leaves without a word, too', async (provider) => {
    const costs = await at.costsOf(async () => {
      const socket = dial(provider, cid, { authorization: `Bearer ${await at.pass()}` })
      const [[{ headers }]] = await Promise.all([once(socket, 'upgrade'), once(socket, 'open')])
      socket.send('one')
      await once(socket, 'message')
      socket.terminate()
      expect(await readReceipt(provider, headers)).toMatchObject({ status: expect.any(Number), price: '500' })
    })
    expect(costs).toEqual({ paid: { payer: 500n }, earned: { [provider]: 500n } })
  })

  test.each(ways)(
    'is refused by %s before the 101 to who does not pay, or wants what there is not',
    async (p) => {
      const costs = await at.costsOf(async () => {
        expect(await refusal(dial(p, cid))).toEqual([402, 'payment_required'])
        const pass = { authorization: `Bearer ${await at.pass()}` }
        expect(await refusal(dial(p, cid, { ...pass, 'idempotency-key': 'k' }))).toEqual([400, 'bad_request'])
        expect(await refusal(dial(p, '_/info', pass))).toEqual([501, 'websocket_unsupported'])
      })
      expect(costs).toEqual(nothing)
    },
  )
})

test.each(ways)('who does not pay is never asked by %s for a body that waits', async (provider) => {
  const { cid } = await at.deploy('talk', ...both, '--payer', 'caller')
  const { port, domain } = at.dev.gateway
  const headers = { host: `${provider}.${domain}`, expect: '100-continue', 'content-length': 100_000_000 }
  const upload = request({ host: '127.0.0.1', port, path: `/${cid}`, method: 'PUT', headers, agent: false })
  upload.on('error', () => undefined).on('continue', () => expect.unreachable('it pays for nothing'))
  upload.flushHeaders()
  const [answer] = (await once(upload, 'response')) as [IncomingMessage]
  expect(answer.statusCode).toBe(402)
  upload.destroy()
})

describe.skipIf(!canRunNatively)('the example ws-echo, where there is a C compiler and bubblewrap', () => {
  let cid: string
  beforeAll(async () => {
    const folder = join(at.user.dir, 'ws-echo')
    await cp(join(examples, 'ws-echo'), folder, { recursive: true })
    execFileSync('sh', [join(folder, 'build.sh')], { stdio: 'pipe' })
    cid = (await at.deploy('ws-echo', ...both)).cid
  })

  test.each(ways)('says back at %s every line and every byte that it hears', async (provider) => {
    const costs = await at.costsOf(async () => {
      const socket = dial(provider, cid)
      await once(socket, 'open')
      const heard: string[] = []
      const lines = (await readFile(join(examples, 'ws-echo/talk.txt'), 'utf8')).split('\n')
      const isComplete = new Promise<void>((resolve) => {
        socket.on('message', (data, isBinary) => {
          if (!isBinary) heard.push(String(data))
          if (heard.length === lines.length) resolve()
        })
      })
      for (const line of lines) socket.send(line)
      await isComplete
      expect(heard).toEqual(lines)

      const picture = await readFile(join(examples, 'thumbnail/sample.jpg'))
      socket.send(picture)
      expect(picture.equals((await once(socket, 'message'))[0])).toBe(true)
      const large = Buffer.alloc(3_000_000, 'khachapuri ')
      socket.send(large)
      expect(large.equals((await once(socket, 'message'))[0])).toBe(true)
      socket.send('in ', { fin: false })
      socket.send('pieces', { fin: true })
      expect(String((await once(socket, 'message'))[0])).toBe('in pieces')
      socket.ping('are you there')
      expect(String((await once(socket, 'pong'))[0])).toBe('are you there')
      socket.close(4_321, 'bye')
      expect((await once(socket, 'close')).map(String)).toEqual(['4321', 'bye'])
    })
    expect(costs).toEqual({ paid: { developer: 500n }, earned: { [provider]: 500n } })
  })

  test('many talk to it at once, and each hears its own words', async () => {
    const words = await Promise.all(
      Array.from({ length: 40 }, async (_, i) => {
        const socket = dial(i % 2 === 0 ? 'alice' : 'bob', cid)
        await once(socket, 'open')
        socket.send(`I am ${i}`)
        const [message] = await once(socket, 'message')
        socket.close()
        await once(socket, 'close')
        return String(message)
      }),
    )
    expect(words).toEqual(words.map((_, i) => `I am ${i}`))
  })

  test('what RFC 6455 forbids ends the connection with 1002', async () => {
    const socket = dial('alice', cid)
    await once(socket, 'open')
    const raw = (socket as unknown as { _socket: { write(bytes: Buffer): void } })._socket
    raw.write(Buffer.from([0x81, 0x01, 0x41])) // Not masked.
    expect((await once(socket, 'close'))[0]).toBe(1002)
  })

  test('a plain request is told what it is for', async () => {
    const answer = await at.call({ cid })
    expect([answer.status, answer.text]).toEqual([426, expect.stringContaining('Connect with a WebSocket')])
  })
})

describe('the example sse-clock', () => {
  let cid: string
  beforeAll(async () => {
    cid = (await at.deploy(join(examples, 'sse-clock'), ...both)).cid
  })

  test.each(ways)('ticks at %s until all are told, and the call is paid once', async (p) => {
    const costs = await at.costsOf(async () => {
      const answer = await open(p, `/${cid}/?every=20&count=3&zone=Asia/Tbilisi`)
      expect(answer.headers['content-type']).toBe('text/event-stream; charset=utf-8')
      const ticks = [...(await text(answer)).matchAll(/data: (.*)/g)].map(([, data = '']) => JSON.parse(data))
      expect(ticks).toMatchObject([1, 2, 3].map((tick) => ({ tick, zone: 'Asia/Tbilisi' })))
    })
    expect(costs).toEqual({ paid: { developer: 500n }, earned: { [p]: 500n } })
  })

  test.each(ways)('an event comes by %s at once, though the last one is far from made', async (p) => {
    const answer = await open(p, `/${cid}/?every=10000&count=7`)
    expect(String((await once(answer, 'data'))[0])).toContain('"tick":1,')
    expect(answer.complete).toBe(false)
    answer.destroy()
    expect(await readReceipt(p, answer.headers)).toMatchObject({ outcome: 'caller_gone' })
  })

  test('who leaves in the middle stops it, and its owner pays once', async () => {
    const costs = await at.costsOf(async () => {
      const answer = await open('bob', `/${cid}/?every=10&count=1000`)
      await once(answer, 'data')
      answer.destroy()
      expect(await readReceipt('bob', answer.headers)).toMatchObject({ outcome: 'caller_gone' })
    })
    expect(costs).toEqual({ paid: { developer: 500n }, earned: { bob: 500n } })
  })
})

const talk = `export default {
  fetch(request) {
    const { 0: theirs, 1: ours } = new WebSocketPair()
    ours.accept()
    ours.addEventListener('message', ({ data }) => ours.send('you said ' + data))
    return new Response(null, { status: 101, webSocket: theirs })
  },
}`

function dial(provider: string, path: string, headers: Record<string, string> = {}): WebSocket {
  const { port, domain } = at.dev.gateway
  const socket = new WebSocket(`ws://127.0.0.1:${port}/${path}`, {
    headers: { host: `${provider}.${domain}`, ...headers },
    perMessageDeflate: false,
  })
  socket.on('error', () => undefined)
  return socket
}

async function refusal(socket: WebSocket): Promise<[number | undefined, string]> {
  const [, answer] = (await once(socket, 'unexpected-response')) as [unknown, IncomingMessage]
  let text = ''
  for await (const chunk of answer) text += chunk
  return [answer.statusCode, JSON.parse(text).code]
}

/** A call that was left is booked behind its caller's back, so the receipt is asked for until it is there. */
async function readReceipt(provider: string, headers: IncomingMessage['headers']): Promise<unknown> {
  for (;;) {
    const answer = await at.call({ provider, path: `/_/receipts/${headers['khachapuri-call']}` })
    if (answer.status === 200) return answer.json()
  }
}

async function open(provider: string, path: string): Promise<IncomingMessage> {
  const { port, domain } = at.dev.gateway
  const headers = { host: `${provider}.${domain}` }
  const [answer] = await once(get({ host: '127.0.0.1', port, path, headers, agent: false }), 'response')
  return answer
}
