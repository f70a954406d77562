import { expect, test } from 'vitest'
import { createRedact } from '../redact.ts'
import { createLastLine, describeExit } from './last-line.ts'

test('the last words are the last line with anything on it, in whatever pieces it came', () => {
  const bytes = Buffer.from('first\nschön war’s\n \n\n')
  for (const length of [1, 2, 3, bytes.length]) {
    const lastLine = createLastLine()
    for (let at = 0; at < bytes.length; at += length) lastLine.push(bytes.subarray(at, at + length))
    expect(lastLine.text).toBe('schön war’s')
  }
})

test('of a line that is too long the beginning is told: its end might begin in the middle of a value', () => {
  const secret = 'sk_live_0123456789abcdef'.repeat(40)
  const redact = createRedact({ KEY: secret })
  for (const [before, after] of [
    [0, 3_500],
    [300, 3_900],
    [900, 0],
    [1_500, 3_200],
    [3_800, 4_000],
  ] as const) {
    const lastLine = createLastLine()
    lastLine.push(`${'x'.repeat(before)}${secret}${'y'.repeat(after)}\n`)
    expect(describeExit({ code: 1, signal: null }, lastLine.text, redact)).not.toMatch(/live|cdefsk/)
  }
})
