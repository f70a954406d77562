import { expect, test } from 'vitest'
import { manifestName } from '../../protocol/program.ts'
import { assertBound } from './assert-bound.ts'

const manifest = {
  name: 'oracle',
  runtime: 'js',
  entry: 'index.js',
  activations: { price: { params: { symbol: { type: 'string' } } } },
  capabilities: ['attest'],
} as const
const { name: _, ...said } = manifest
const spec = { ...said, activations: manifest.activations as never, capabilities: ['attest' as const] }
const filesOf = (text: string) => [{ path: manifestName, bytes: Buffer.from(text) }]
const codeOf = (of: object, text = JSON.stringify(manifest)) => {
  try {
    assertBound({ ...spec, ...of }, filesOf(text))
    return 'bound'
  } catch (error) {
    return (error as { code: string }).code
  }
}

test('what attests runs and offers what the manifest in its zip says', () => {
  expect(codeOf({})).toBe('bound')
  expect(codeOf({ activations: { price: { params: { symbol: { type: 'string' } } } } })).toBe('bound')
})

test.each([
  ['another entry', { entry: 'lib/other.js' }],
  ['another list of activations', { activations: { price: {} } }],
  ['one activation more', { activations: { ...manifest.activations, sign: {} } }],
])('%s of the same zip is refused', (_, of) => {
  expect(codeOf(of)).toBe('deployment_invalid')
})

test.each([
  ['does not ask to attest', JSON.stringify({ ...manifest, capabilities: undefined })],
  ['says nothing of its runtime', JSON.stringify({ ...manifest, runtime: undefined })],
  ['is no JSON', '{'],
  ['is a list', '[]'],
])('a manifest that %s binds nothing', (_, text) => {
  expect(codeOf({}, text)).toBe('deployment_invalid')
})

test('a zip without a manifest binds nothing, and what does not attest needs none', () => {
  expect(() => assertBound(spec, [])).toThrow('another runtime')
  expect(() => assertBound({ ...spec, capabilities: undefined }, [])).not.toThrow()
})
