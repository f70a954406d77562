import { expect, test } from 'vitest'
import { runtimeKinds } from '../protocol/program.ts'
import { mayRun } from './may-run.ts'

const stranger = { isOwn: false, isDevChain: false }

test.each(runtimeKinds)('%s programs of strangers run where every wall stands, and only there', (kind) => {
  expect(mayRun({ kind, tier: 'sandbox', ...stranger })).toBe(true)
  expect(mayRun({ kind, tier: 'process', ...stranger })).toBe(false)
  expect(mayRun({ kind, tier: undefined, ...stranger })).toBe(false)
})

test.each(runtimeKinds)('%s programs of the operator run anyway', (kind) => {
  expect(mayRun({ kind, tier: 'process', ...stranger, isOwn: true })).toBe(true)
})

test('a development chain runs what has V8 around it, but no stranger’s binary', () => {
  const anybody = { isOwn: false, isDevChain: true, tier: 'process' } as const
  expect(runtimeKinds.filter((kind) => mayRun({ kind, ...anybody }))).toEqual(['js', 'wasm'])
})
