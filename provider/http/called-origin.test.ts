import { expect, test } from 'vitest'
import { calledOrigin } from './called-origin.ts'

test('what is shown to a caller begins as it called, behind a gateway with TLS, too', () => {
  expect(calledOrigin({ host: '127.0.0.1:4000' })).toBe('http://127.0.0.1:4000')
  const forwarded = { host: '127.0.0.1:4000', 'x-forwarded-host': 'alice.market.example' }
  expect(calledOrigin({ ...forwarded, 'x-forwarded-proto': 'https' })).toBe('https://alice.market.example')
  expect(calledOrigin({ ...forwarded, 'x-forwarded-proto': 'http' })).toBe('http://alice.market.example')
})
