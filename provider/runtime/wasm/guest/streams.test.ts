import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createErrors } from './streams.ts'

/** @returns what is printed of `text`, which comes in pieces. */
function print(text: string, pieceLength: number): { printed: string[]; lastLine: string } {
  const printed: string[] = []
  const errors = createErrors((line) => void printed.push(line))
  const bytes = new TextEncoder().encode(text)
  for (let at = 0; at < bytes.length; at += pieceLength) errors.write(bytes.subarray(at, at + pieceLength))
  errors.end()
  return { printed, lastLine: errors.lastLine }
}

test('of a line that is too long only the beginning is printed: its rest would begin in the middle of a value', () => {
  const secret = 'sk_live_0123456789abcdef'
  fc.assert(
    fc.property(
      fc.integer({ min: 8_100, max: 8_300 }),
      fc.integer({ min: 500, max: 20_000 }),
      (before, pieceLength) => {
        const long = 'x'.repeat(before) + secret + 'y'.repeat(10_000)
        const { printed, lastLine } = print(`first\n${long}\nlast\n`, pieceLength)
        expect(printed).toEqual(['first', long.slice(0, 8 * 1024), 'last'])
        expect(lastLine).toBe('last')
      },
    ),
    { numRuns: 50 },
  )
})

test('a line without an end is printed at its end', () => {
  expect(print('one\n\nno end', 2)).toEqual({ printed: ['one', '', 'no end'], lastLine: 'no end' })
})
