import { expect, test } from 'vitest'
import { parseSettings } from './settings.ts'

test('without flags the market stays on port 8080', () => {
  expect(parseSettings([])).toEqual({
    port: 8080,
    once: false,
    fault: undefined,
    isSwarm: false,
    liar: undefined,
    isVerbose: false,
  })
})

test('every flag is read', () => {
  expect(parseSettings(['--port', '0', '--once', '--fault', 'wrong-id', '--verbose'])).toEqual({
    port: 0,
    once: true,
    fault: 'wrong-id',
    isSwarm: false,
    liar: undefined,
    isVerbose: true,
  })
  expect(parseSettings(['--swarm'])).toMatchObject({ isSwarm: true, liar: undefined })
  expect(parseSettings(['--liar', 'dave'])).toMatchObject({ isSwarm: true, liar: 'dave' })
  expect(parseSettings(['--help'])).toBe('help')
})

test.each([
  [['--prot', '1']],
  [['--port', '65536']],
  [['--port', '80 80']],
  [['--port=-1']],
  [['--port']],
  [['--fault', 'sloth']],
  [['--liar', 'alice']],
  [['extra']],
])('%j is refused with the usage as hint', (argv) => {
  expect(() => parseSettings(argv)).toThrow(
    expect.objectContaining({ code: 'usage_invalid', hint: expect.stringContaining('Usage: npm start') }),
  )
})
