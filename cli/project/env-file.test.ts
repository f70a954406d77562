import { parseEnv } from 'node:util'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { utf8 } from '../../protocol/base/bytes.ts'
import { limits } from '../../protocol/limits.ts'
import { parseEnvFile } from './env-file.ts'

const parse = (text: string) => parseEnvFile(utf8.encode(text), '.env')

test('values are bare, literal or with escapes, as dotenv writes them', () => {
  const text = [
    '# a comment',
    'PLAIN=one',
    '  export SPACED = two words # a comment',
    'HASH=a#b',
    'EQUALS=a=b=',
    'EMPTY=',
    'COMMENT= # nothing',
    `SINGLE='it is "$literal" \\n'`,
    'DOUBLE="line\\nbreak \\"quoted\\" C:\\\\dir \\d" # a comment',
    'BACKTICK=`it\'s "all" here`',
    'LONG="one',
    '# no comment',
    'three"',
    'UTF8=გამარჯობა',
    'TWICE=first',
    'TWICE=second',
  ].join('\n')
  expect(parse(text)).toEqual({
    PLAIN: 'one',
    SPACED: 'two words',
    HASH: 'a#b',
    EQUALS: 'a=b=',
    EMPTY: '',
    COMMENT: '',
    SINGLE: 'it is "$literal" \\n',
    DOUBLE: 'line\nbreak "quoted" C:\\dir \\d',
    BACKTICK: 'it\'s "all" here',
    LONG: 'one\n# no comment\nthree',
    UTF8: 'გამარჯობა',
    TWICE: 'second',
  })
})

test('any value can be written between double quotes, and comes back as it was', () => {
  const quote = (value: string) => `"${value.replace(/[\\"$]/g, '\\$&').replaceAll('\r', '\\r')}"`
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' }), (one, two) => {
      const text = `ONE=${quote(one)}\nTWO=${quote(two.toWellFormed())}`
      expect(parse(text)).toEqual({ ONE: one, TWO: two.toWellFormed() })
    }),
  )
})

test('a value of 64 KiB with quotes, equals signs, line breaks and UTF-8 round-trips', () => {
  const value = `="'\`\n გ😀 #`.repeat(5000)
  expect(Buffer.byteLength(value)).toBeGreaterThan(64 * 1024)
  expect(parse(`BIG="${value.replaceAll('"', '\\"')}"`)).toEqual({ BIG: value })
})

test('what the parser of node reads of plain lines is read the same', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.stringMatching(/^[A-Z_][A-Z0-9_]{0,9}$/), fc.stringMatching(/^[a-z0-9=:/.-]{0,20}$/)),
      (env) => {
        const text = Object.entries(env)
          .map(([name, value]) => `${name}=${value}`)
          .join('\n')
        expect(parse(text)).toEqual({ ...parseEnv(text) })
      },
    ),
  )
})

test.each([
  ['NAME', 1],
  ['ONE=1\n2=two', 2],
  ['ONE="open\nTWO=2', 1],
  ['ONE="1" 2', 1],
  ['A-B=1', 1],
  ['X=1\n\n= secret value', 3],
])('%j is refused with its line and without its content', (text, line) => {
  expect(() => parse(text)).toThrow(`.env cannot be used: line ${line} is not NAME=value.`)
})

test('bytes that are not UTF-8 are refused', () => {
  expect(() => parseEnvFile(new Uint8Array([0x41, 0x3d, 0xff]), '.env')).toThrow('it is not UTF-8')
})

test('a very long line is read before the test times out', () => {
  const text = `A=${' '.repeat(limits.envBytesMax)}x${' '.repeat(limits.envBytesMax)}`
  expect(parse(text)).toEqual({ A: 'x' })
})
