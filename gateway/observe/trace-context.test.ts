import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTraceIds, formatTraceParent, parseTraceParent } from './trace-context.ts'

const good = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

test('what is written is read again', () => {
  const { next } = createTraceIds()
  const seen = new Set<string>()
  for (let n = 0; n < 300; n++) {
    const made = next()
    seen.add(made.traceId)
    expect(parseTraceParent(formatTraceParent(made))).toEqual(made)
  }
  expect(seen.size).toBe(300)
})

// The cases of the standard's own test suite that concern one header.
test.each([
  ['a good one', good, true],
  ['a later version', `${good.replace('00-', 'cc-')}`, true],
  ['a later version with more', `${good.replace('00-', 'cc-')}-what-the-future`, true],
  ['this version with more', `${good}-x`, false],
  ['a later version with more that is not parted', `${good.replace('00-', 'cc-')}.x`, false],
  ['version ff', good.replace('00-', 'ff-'), false],
  ['a trace id of zeros', good.replace('0af7651916cd43dd8448eb211c80319c', '0'.repeat(32)), false],
  ['a span id of zeros', good.replace('b7ad6b7169203331', '0'.repeat(16)), false],
  ['capitals', good.toUpperCase(), false],
  ['a short id', good.replace('0af7', ''), false],
  ['nothing', '', false],
])('%s', (_, text, isGood) => {
  expect(parseTraceParent(text) !== undefined).toBe(isGood)
})

test('whatever comes is read or refused, and what is read is well-formed', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}.?$/)),
      (text) => {
        const parsed = parseTraceParent(text)
        if (parsed) expect(parseTraceParent(formatTraceParent(parsed))).toEqual(parsed)
      },
    ),
  )
})
