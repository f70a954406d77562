import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { formatRequestHead, formatResponseHead, parseRequestHead, parseResponseHead } from './head.ts'

const latin1 = (pattern: RegExp) => fc.stringMatching(pattern)
const name = latin1(/^x-[a-zA-Z0-9!#$%&'*+.^_`|~-]{0,20}$/)
const value = latin1(/^[\x20-\x7e\x80-\xff\t]{0,40}$/)
const rawHeaders = fc.array(fc.tuple(name, value), { maxLength: 10 }).map((pairs) => pairs.flat())

function codeOf(run: () => unknown): string | undefined {
  try {
    run()
    return undefined
  } catch (error) {
    if (!isProtocolError(error)) throw error
    return error.code
  }
}

describe('heads', () => {
  test('of requests keep case, order and duplicates', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('GET', 'POST', 'PATCH', 'M-SEARCH'),
        latin1(/^\/[\x21-\x7e\x80-\xff]{0,60}$/),
        rawHeaders,
        fc.array(
          fc.record({ tunnelId: latin1(/^[0-9a-f]{32}$/), streamId: fc.integer({ min: 1, max: 2 ** 31 }) }),
          {
            maxLength: limits.tunnelAttemptsMax,
          },
        ),
        fc.constantFrom({}, { switchesTo: 'websocket' as const }, { expectsContinue: true }),
        (method, target, headers, lostAttempts, wish) => {
          const plain = { method, target, rawHeaders: headers, lostAttempts }
          const head = { ...plain, ...wish, ...('switchesTo' in wish && { method: 'GET' }) }
          expect(parseRequestHead(formatRequestHead(head))).toEqual(head)
        },
      ),
    )
  })

  test('of answers keep case, order and duplicates', () => {
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), rawHeaders, (status, headers) => {
        const head = { status, rawHeaders: headers }
        expect(parseResponseHead(formatResponseHead(head))).toEqual({ ...head, contentLength: undefined })
      }),
    )
  })

  test('any text is a head or a protocol error', () => {
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc.json().map((json) => `[200,${json}]`),
    )
    fc.assert(
      fc.property(text, (head) => {
        expect([undefined, 'bad_request', 'headers_too_large']).toContain(
          codeOf(() => parseRequestHead(head)),
        )
        expect([undefined, 'provider_answer_invalid']).toContain(codeOf(() => parseResponseHead(head)))
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['a line break in a value', [200, ['a', 'b\r\nc: d']]],
    ['NUL in a value', [200, ['a', '\0']]],
    ['a value beyond Latin-1', [200, ['a', '\u010a']]],
    ['a space in a name', [200, ['a b', 'c']]],
    ['an empty name', [200, ['', 'c']]],
    ['a name without a value', [200, ['a']]],
    ['a value that is no text', [200, ['a', 1]]],
    ['transfer-encoding', [200, ['Transfer-Encoding', 'chunked']]],
    ['connection', [200, ['connection', 'close']]],
    ['two lengths', [200, ['content-length', '1', 'Content-Length', '1']]],
    ['a signed length', [200, ['content-length', '+1']]],
    ['an interim status', [101, []]],
    ['a status that is no number', ['200', []]],
    ['headers above the limit', [200, ['a', 'x'.repeat(limits.headerBytesMax)]]],
  ])('an answer with %s is refused', (_, head) => {
    expect(codeOf(() => parseResponseHead(JSON.stringify(head)))).toBe('provider_answer_invalid')
  })

  test.each([
    ['an absolute target', ['GET', 'http://a/', []]],
    ['a space in its target', ['GET', '/a b', []]],
    ['an empty target', ['GET', '', []]],
    ['a space in its method', ['GE T', '/', []]],
    ['a header that belongs to one connection', ['GET', '/', ['Upgrade', 'x']]],
    ['attempts that are none', ['GET', '/', [], [['x', 1]]]],
    [
      'more attempts than there are',
      ['GET', '/', [], Array.from({ length: limits.tunnelAttemptsMax + 1 }, () => ['a'.repeat(32), 1])],
    ],
    ['a protocol that is none', ['GET', '/', [], [], 1]],
    ['a protocol that nobody speaks here', ['GET', '/', [], [], 'h2c']],
    ['a handshake that is no GET', ['POST', '/', [], [], 'websocket']],
    ['a handshake with a body', ['GET', '/', ['content-length', '1'], [], 'websocket']],
    ['a sixth field', ['GET', '/', [], [], 'websocket', 1]],
  ])('a request with %s is refused', (_, head) => {
    expect(codeOf(() => parseRequestHead(JSON.stringify(head)))).toBe('bad_request')
  })

  test('101 is an answer where it was asked for', () => {
    const text = formatResponseHead({ status: 101, rawHeaders: ['a', 'b'] })
    expect(parseResponseHead(text, true)).toMatchObject({ status: 101, rawHeaders: ['a', 'b'] })
    expect(codeOf(() => parseResponseHead(text))).toBe('provider_answer_invalid')
  })

  test('characters beyond Latin-1 are never written, because they would become other bytes', () => {
    const head = { method: 'GET', target: '/', rawHeaders: ['a', '\u0122,"x'], lostAttempts: [] }
    expect(codeOf(() => formatRequestHead(head))).toBe('bad_request')
    expect(codeOf(() => formatResponseHead({ status: 200, rawHeaders: ['a', '\u0122'] }))).toBe(
      'provider_answer_invalid',
    )
  })

  test('heads that fit no frame are refused by the side that has them', () => {
    const rawHeaders = ['a', 'x'.repeat(limits.frameBytesMax)]
    expect(
      codeOf(() => formatRequestHead({ method: 'GET', target: '/', rawHeaders, lostAttempts: [] })),
    ).toBe('headers_too_large')
    expect(codeOf(() => formatResponseHead({ status: 200, rawHeaders }))).toBe('provider_answer_invalid')
  })
})
