import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../../../protocol/limits.ts'
import { InvalidAnswer } from '../cgi/cgi.ts'
import { createCgiAnswer, HeadTooLarge, TooLarge } from './cgi-answer.ts'

function read(chunks: readonly (string | Buffer)[], method = 'GET') {
  const heads: (readonly [number, readonly string[]])[] = []
  const bodies: Buffer[] = []
  const answer = createCgiAnswer(
    { method, bytesMax: limits.responseBodyBytesMax },
    {
      onHead: (status, rawHeaders) => heads.push([status, rawHeaders]),
      onData: (chunk) => bodies.push(chunk),
    },
  )
  for (const chunk of chunks) answer.push(Buffer.from(chunk as string))
  answer.end()
  expect(heads).toHaveLength(1)
  return { status: heads[0]![0], rawHeaders: heads[0]![1], body: Buffer.concat(bodies).toString() }
}

test('an answer means the same in whatever pieces it comes', () => {
  const text = 'Status: 201 Made\r\nX-A: one\r\nX-A: two\r\n\r\nbody\n\nwith an empty line'
  const whole = { status: 201, rawHeaders: ['X-A', 'one', 'X-A', 'two'], body: 'body\n\nwith an empty line' }
  fc.assert(
    fc.property(fc.array(fc.nat(text.length)), (cuts) => {
      const at = [0, ...cuts.sort((a, b) => a - b), text.length]
      expect(read(at.slice(1).map((end, index) => text.slice(at[index], end)))).toEqual(whole)
    }),
  )
})

test('whatever a program writes is an answer or a fault', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 })), (chunks) => {
      try {
        const { rawHeaders } = read(chunks.map((chunk) => Buffer.from(chunk)))
        expect(rawHeaders.join('')).not.toMatch(/[\r\n\0]/)
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidAnswer)
      }
    }),
  )
})

test.each([
  ['no head', 'hello'],
  ['nothing', ''],
  ['a status that there is not', 'Status: 99\n\n'],
  ['a status that begins another answer', 'Status: 101 Switching\n\n'],
  ['a header with a NUL', 'X-A: a\0b\n\n'],
  ['a header with a carriage return', 'X-A: a\rX-B: b\n\n'],
  ['a header with a space in its name', 'X A: a\n\n'],
  ['two lengths', 'Content-Length: 1\nContent-Length: 2\n\na'],
  ['a length that is none', 'Content-Length: -1\n\na'],
  ['less than its length', 'Content-Length: 3\n\nab'],
  ['more than its length, which could be another answer', 'Content-Length: 1\n\nabHTTP/1.1 200 OK'],
  ['headers without end', `X-A: ${'a'.repeat(70_000)}`],
])('%s is no answer', (_, text) => {
  expect(() => read([text])).toThrow(InvalidAnswer)
})

test('headers without end are told as that', () => {
  expect(() => read([`X-A: ${'a'.repeat(70_000)}`])).toThrow(HeadTooLarge)
})

test('an answer that may have no body gets none, whatever the program writes', () => {
  expect(read(['\nbody'], 'HEAD').body).toBe('')
  expect(read(['Status: 204\n\nbody']).body).toBe('')
  expect(read(['Content-Length: 4\n\nbody'], 'HEAD').rawHeaders).toEqual(['Content-Length', '4'])
})

test('an answer has an end', () => {
  const chunk = Buffer.alloc(limits.responseBodyBytesMax / 4)
  expect(() => read(['\n', chunk, chunk, chunk, chunk, 'x'])).toThrow(TooLarge)
})
