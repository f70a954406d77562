import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createLineFilter } from './output.ts'

const engine = [
  'workerd/jsg/util.c++:320: error: failed\n',
  `stack: ${'/srv/khachapuri/node_modules/workerd@1 '.repeat(1000)}\n`,
  '*** Received signal #6: Aborted\n',
]
const own = ['hello\n', '\n', `${'x'.repeat(20_000)}\n`, 'the stack: of it\n', 'no end']

function filter(text: string, pieceLength: number): string {
  let passed = ''
  const lines = createLineFilter((part) => {
    passed += part
  })
  for (let at = 0; at < text.length; at += pieceLength) lines.push(text.slice(at, at + pieceLength))
  lines.end()
  return passed
}

test('the program’s lines pass and workerd’s do not, however they are cut', () => {
  const text = [...engine, ...own.slice(0, 2), ...engine, ...own.slice(2)].join('')
  fc.assert(
    fc.property(fc.integer({ min: 50, max: 50_000 }), (pieceLength) => {
      expect(filter(text, pieceLength)).toBe(own.join(''))
    }),
    { numRuns: 30 },
  )
})

test('a line without an end is not kept for ever', () => {
  const passed: string[] = []
  const lines = createLineFilter((part) => void passed.push(part))
  for (let i = 0; i < 10; i++) lines.push('x'.repeat(4_000))
  expect(passed.join('').length).toBeGreaterThan(30_000)
})
