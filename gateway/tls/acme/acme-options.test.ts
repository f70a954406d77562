import fc from 'fast-check'
import { expect, test } from 'vitest'
import { certificateHosts, renewalAtMs } from './acme-options.ts'

const options = { directoryUrl: 'https://ca.example/', domain: 'market.example', providers: ['alice'] }

test('with DNS the certificate is for all names below the gateway, without it for those that are named', () => {
  expect(certificateHosts({ ...options, hook: ['hook'] })).toEqual([
    'market.example',
    '*.market.example',
    '*.alice.market.example',
  ])
  expect(certificateHosts(options)).toEqual(['market.example', 'alice.market.example'])
})

test('whatever its life, a certificate is renewed after two thirds of it, and no later than a thirtieth after that', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 2 ** 42 }),
      fc.integer({ min: 60_000, max: 400 * 86_400_000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (validFromMs, lifeMs, random) => {
        const dueMs = renewalAtMs({ validFromMs, validToMs: validFromMs + lifeMs }, () => random)
        expect(dueMs - validFromMs).toBeGreaterThanOrEqual(Math.floor((lifeMs * 2) / 3) - 1)
        expect(dueMs - validFromMs).toBeLessThanOrEqual(Math.ceil(lifeMs * (2 / 3 + 1 / 30)) + 1)
      },
    ),
  )
})
