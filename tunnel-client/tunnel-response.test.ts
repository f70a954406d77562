import { describe, expect, test } from 'vitest'
import { joinHeaders } from '../protocol/http/join-headers.ts'
import { createMuxPair, createRecorder } from '../test/support/mux-pair.ts'
import { TunnelResponse } from './tunnel-response.ts'

/** What the gateway's end sees of an answer. */
async function answer(write: (response: TunnelResponse) => void, method = 'GET') {
  const pair = createMuxPair({
    onStream(stream) {
      const response = new TunnelResponse({ stream, method })
      write(response)
      return createRecorder({ onDrain: () => response.onDrain() })
    },
  })
  const seen = createRecorder()
  pair.gateway.openWhole(seen, 'request')
  await pair.run()
  // Node's streams finish in turns of their own.
  await new Promise((resolve) => setImmediate(resolve))
  await pair.run()
  const [status, rawHeaders] = seen.head === undefined ? [] : JSON.parse(seen.head)
  return {
    status,
    rawHeaders,
    body: Buffer.concat(seen.body).toString(),
    isEnded: seen.isEnded,
    reset: seen.reset,
  }
}

describe('an answer', () => {
  test('that is given whole announces its length', async () => {
    expect(await answer((response) => response.end('hello'))).toEqual({
      status: 200,
      rawHeaders: ['content-length', '5'],
      body: 'hello',
      isEnded: true,
      reset: undefined,
    })
  })

  test('keeps the length that its handler announced', async () => {
    const { rawHeaders } = await answer((response) =>
      response.writeHead(200, ['Content-Length', '5']).end('hello'),
    )
    expect(rawHeaders).toEqual(['Content-Length', '5'])
  })

  test('that is written in parts announces none', async () => {
    const { rawHeaders, body } = await answer((response) => {
      response.write('a')
      response.write('b')
      response.end('c')
    })
    expect([rawHeaders, body]).toEqual([[], 'abc'])
  })

  test('that is corked keeps its order', async () => {
    const { body } = await answer((response) => {
      response.cork()
      response.write('first ')
      response.end('last')
    })
    expect(body).toBe('first last')
  })

  test.each([
    ['a flat list', ['A', '1', 'a', '2']],
    [
      'pairs',
      [
        ['A', '1'],
        ['a', '2'],
      ],
    ],
  ])('takes headers as %s', async (_, headers) => {
    const { rawHeaders } = await answer((response) => response.writeHead(204, headers).end())
    expect(rawHeaders).toEqual(['A', '1', 'a', '2'])
  })

  test('takes headers as a record, with a reason, and from setHeader, where writeHead wins', async () => {
    const { status, rawHeaders } = await answer((response) => {
      response.setHeader('x-kept', ['1', '2'])
      response.setHeader('x-replaced', 'old')
      response.writeHead(304, 'Whatever', { 'X-Replaced': 'new' }).end()
    })
    expect([status, rawHeaders]).toEqual([304, ['x-kept', '1', 'x-kept', '2', 'X-Replaced', 'new']])
  })

  test('never carries what belongs to one connection', async () => {
    const { rawHeaders } = await answer((response) =>
      response
        .writeHead(204, { Connection: 'close', 'Transfer-Encoding': 'chunked', 'Keep-Alive': 'x' })
        .end(),
    )
    expect(rawHeaders).toEqual([])
  })

  test.each(['HEAD', 'GET'])('has no body where HTTP allows none (%s)', async (method) => {
    const { body, isEnded } = await answer((response) => {
      response.writeHead(method === 'HEAD' ? 200 : 204, [])
      response.write('dropped')
      response.end('dropped')
    }, method)
    expect([body, isEnded]).toEqual(['', true])
  })

  test('that is given up is reset, and only its close says so', async () => {
    const events: string[] = []
    const { reset } = await answer((response) => {
      response.on('close', () => events.push(`close ${response.writableFinished}`))
      response.destroy(new Error('enough'))
    })
    expect([reset, events]).toEqual(['cancelled', ['close false']])
  })

  test('with a header that no bytes can say is given up, and its handler is told', async () => {
    let thrown: unknown
    const { reset } = await answer((response) => {
      try {
        response.writeHead(200, ['a', '\u0122']).end('x')
      } catch (error) {
        thrown = error
      }
    })
    expect([reset, String(thrown)]).toEqual(['cancelled', expect.stringContaining('Latin-1')])
  })

  test('with a status that ends no exchange is a mistake of its handler', async () => {
    await answer((response) => {
      expect(() => response.writeHead(101)).toThrow(RangeError)
      expect(() => response.writeHead(1000)).toThrow(RangeError)
      response.end()
    })
  })
})

test('headers are joined as node:http joins them', () => {
  const rawHeaders = ['A', '1', 'a', '2', 'Cookie', 'x', 'cookie', 'y', 'Set-Cookie', 'p', 'set-cookie', 'q']
  expect({ ...joinHeaders([...rawHeaders, 'Host', 'first', 'host', 'second', '__proto__', 'z']) }).toEqual({
    a: '1, 2',
    cookie: 'x; y',
    'set-cookie': ['p', 'q'],
    host: 'first',
    ['__proto__']: 'z',
  })
})
