import { expect, test } from 'vitest'
import { problemType } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { mayBeRefusal } from './decide-retry.ts'

const head = (length: string | undefined, ...more: string[]) => [
  ...['Content-Type', `${problemType}; charset=utf-8`],
  ...(length === undefined ? [] : ['Content-Length', length]),
  ...more,
]

test('a problem document of a known and small length may be a refusal', () => {
  expect(mayBeRefusal(402, head('300'))).toBe(true)
  expect(mayBeRefusal(503, head(String(limits.problemBytesMax)))).toBe(true)
})

test.each([
  ['an answer of a program', 503, head('300', 'KHACHAPURI-CALL', '0x01')],
  ['no error', 200, head('300')],
  ['no problem document', 503, ['content-type', 'application/json', 'content-length', '300']],
  ['one of unknown length, which would have to be read to its end', 503, head(undefined)],
  ['one that says nothing', 503, head('0')],
  ['one that is longer than any', 503, head(String(limits.problemBytesMax + 1))],
])('%s is none', (_, status, rawHeaders) => {
  expect(mayBeRefusal(status, rawHeaders)).toBe(false)
})
