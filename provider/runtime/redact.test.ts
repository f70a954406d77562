import { expect, test } from 'vitest'
import { createRedact } from './redact.ts'

test('values of the env are told by their names, each line of a long one, too', () => {
  const redact = createRedact({ KEY: 's3cret-value', PEM: '-----BEGIN\nabcdefgh\n-----END', SHORT: 'no' })
  expect(redact('say s3cret-value twice: s3cret-value')).toBe('say [KEY] twice: [KEY]')
  expect(redact('  abcdefgh')).toBe('  [PEM]')
  expect(redact('no, not that')).toBe('no, not that')
  expect(createRedact({ A: 'secret', B: 'secret-longer' })('secret-longer secret')).toBe('[B] [A]')
})
