import fc from 'fast-check'
import { expect, test } from 'vitest'
import { domainHost, resolveHost } from './resolve-host.ts'

test.each([
  ['localhost:8080', 'control'],
  ['LocalHost', 'control'],
  ['localhost.:80', 'control'],
  ['127.0.0.1:8080', 'control'],
  ['[::1]:8080', 'control'],
  ['alice.localhost:8080', 'provider'],
  ['Alice.LOCALHOST.', 'provider'],
  ['a-1.localhost', 'provider'],
  [`${'a'.repeat(63)}.localhost`, 'provider'],
  ['b.alice.localhost', 'unknown'],
  ['example.org', 'unknown'],
  ['evillocalhost', 'unknown'],
  [`${'a'.repeat(64)}.localhost`, 'malformed'],
  ['-a.localhost', 'malformed'],
  ['a_b.localhost', 'malformed'],
  ['.localhost', 'malformed'],
  ['alice@bob.localhost', 'malformed'],
  ['alice/bob.localhost', 'malformed'],
  ['alice.localhost:', 'malformed'],
  ['alice.localhost:123456', 'malformed'],
  ['älice.localhost', 'malformed'],
  ['', 'malformed'],
  ['a b', 'malformed'],
])('the host %s is %s', (header, kind) => {
  expect(resolveHost(header, 'localhost').kind).toBe(kind)
})

test('a provider is known by one spelling', () => {
  expect(resolveHost('ALICE.localhost.:8080', 'localhost')).toEqual({ kind: 'provider', name: 'alice' })
})

test('any text means something, and a provider only with a whole label before the domain', () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('', '.localhost', 'localhost', ':1'), (text, end) => {
      const meaning = resolveHost(text + end, 'localhost')
      if (meaning.kind === 'provider')
        expect((text + end).toLowerCase()).toContain(`${meaning.name}.localhost`)
    }),
  )
})

test('the host of a domain has neither port nor final dot', () => {
  expect(domainHost('LocalHost:8080')).toBe('localhost')
  expect(domainHost('gw.example.org.')).toBe('gw.example.org')
})
