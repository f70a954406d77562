import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import { createRedact } from './redact.ts'

test('values of the env are told by their names, each line of a long one, too', () => {
  const redact = createRedact({ KEY: 's3cret-value', PEM: '-----BEGIN\nabcdefgh\n-----END', SHORT: 'no' })
  expect(redact('say s3cret-value twice: s3cret-value')).toBe('say [KEY] twice: [KEY]')
  expect(redact('  abcdefgh')).toBe('  [PEM]')
  expect(redact('no, not that')).toBe('no, not that')
  expect(createRedact({ A: 'secret', B: 'secret-longer' })('secret-longer secret')).toBe('[B] [A]')
})

test('wherever a line is cut, no more of a value is shown than says nothing', () => {
  const key = 'sk_live_0123456789abcdef'
  const redact = createRedact({ KEY: key })
  for (const after of ['', ' (main.ts:3)', '", which is no CGI header.']) {
    for (let length = 6; length <= key.length; length += 1)
      expect(redact(`at ?q=x&key=${key.slice(0, length)}${after}`)).toBe(`at ?q=x&key=[KEY]${after}`)
  }
  expect(redact('sk_live_other, and sk_live_ too')).toBe('sk_live_other, and sk_live_ too')
})

test('an env of more values than can be looked for shows nothing at all', () => {
  const values = Array.from({ length: limits.redactedValuesMax + 1 }, (_, i) => `value-${i}`)
  expect(createRedact({ LIST: values.join('\n') })('value-7')).not.toContain('value-7')
})
