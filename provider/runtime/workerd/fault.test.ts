import fc from 'fast-check'
import { expect, test } from 'vitest'
import { limits } from '../../../protocol/limits.ts'
import { findStartError, isHeapExhausted, readFault } from './fault.ts'

const token = 'secret'
const fault = (value: string) => readFault(500, ['content-length', '0', 'Khachapuri-Fault', value], token)

test('a fault with the token of the process is one', () => {
  expect(fault('secret crashed Error%3A%20%C3%BC')).toEqual({ kind: 'crashed', message: 'Error: ü' })
  expect(fault('secret output_invalid no')).toEqual({ kind: 'output_invalid', message: 'no' })
})

test('a fault header of another origin is an ordinary header', () => {
  expect(fault('guess crashed x')).toBeUndefined()
  expect(readFault(200, ['khachapuri-fault', 'secret crashed x'], token)).toBeUndefined()
  expect(readFault(500, ['content-type', 'text/plain'], token)).toBeUndefined()
})

test('an answer that workerd made up itself is a fault of the program', () => {
  expect(readFault(500, ['Content-Length', '21'], token)).toMatchObject({ kind: 'crashed' })
  expect(readFault(500, ['Content-Length', '21', 'Content-Type', 'text/plain'], token)).toBeUndefined()
})

test('whatever a program says fits into its bound, on one line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 1200 }), (text) => {
      const message = fault(`secret crashed ${encodeURIComponent(text.toWellFormed())}`)!.message
      expect(Buffer.byteLength(message)).toBeLessThanOrEqual(limits.faultMessageBytesMax)
      expect(message).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
    }),
    { numRuns: 25 },
  )
})

test('what workerd says of a program that cannot start becomes one sentence without paths of the host', () => {
  const words = 'service program: Uncaught Error: top\n  at program/index.js:1:7\nservice program: more'
  expect(findStartError(words)).toBe('Error: top (index.js:1:7)')
  expect(findStartError('stack: /host/path/workerd@2b5')).toBeUndefined()
})

test('a heap that is full is known from V8’s own words', () => {
  const words = 'workerd/jsg/setup.c++:44: fatal: V8 fatal error; location = Reached heap limit; message = : '
  expect(isHeapExhausted(`${words}allocation failed: JavaScript heap out of memory`)).toBe(true)
  expect(isHeapExhausted('zoom into the memory room')).toBe(false)
  expect(isHeapExhausted('Uncaught Error: top')).toBe(false)
})
