import { expect, test } from 'vitest'
import { createTestClock } from '../protocol/base/clock.ts'
import { limits } from '../protocol/limits.ts'
import { faults, parseFault, withFault } from './faults.ts'
import { collectAnswer } from './runtime/collect-answer.ts'
import type { Instance } from './runtime/runtime.ts'

test('faults are injected on development chains only', () => {
  for (const fault of faults) {
    expect(parseFault(fault, 31_337)).toBe(fault)
    for (const chainId of [1, 8453, 84_532])
      expect(() => parseFault(fault, chainId)).toThrow(expect.objectContaining({ code: 'fault_refused' }))
  }
})

test('an unknown fault is refused with the list of known ones', () => {
  expect(() => parseFault('explode', 31_337)).toThrow(
    expect.objectContaining({ code: 'config_invalid', hint: `Faults: ${faults.join(', ')}.` }),
  )
})

const request = { method: 'GET', target: '/', rawHeaders: ['host', 'test'] }

/** A program that says "ab" in two pieces. */
const program = {
  isAlive: true,
  call(_, handler) {
    handler.onHead(200, [])
    for (const text of ['a', 'b']) handler.onData(Buffer.from(text))
    handler.onEnd({ kind: 'answered' })
    return { pause() {}, resume() {}, abort() {} }
  },
} as Partial<Instance> as Instance

test('one byte of a liar’s answer is another, and nothing else of its program', async () => {
  const liar = withFault(program, 'flip-output', createTestClock())
  expect(liar.isAlive).toBe(true)
  expect((await collectAnswer(liar, request)).body.toString()).toBe('`b')
  expect(
    (await collectAnswer(withFault(program, undefined, createTestClock()), request)).body.toString(),
  ).toBe('ab')
})

test('a slow one answers after a minute, or not at all where nobody waits; a silent one never', async () => {
  const clock = createTestClock()
  const slow = withFault(program, 'slow', clock)
  let answers = 0
  const onEnd = () => {
    answers += 1
  }
  const handler = { onHead: () => undefined, onData: () => undefined, onEnd }
  slow.call(request, handler)
  slow.call(request, handler).abort()
  withFault(program, 'silent', clock).call(request, handler)
  await clock.advance(limits.faultSlowMs - 1)
  expect(answers).toBe(0)
  await clock.advance(1)
  expect(answers).toBe(1)
  expect(clock.sleepers).toBe(0)
})
