import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../../protocol/base/bytes.ts'
import { cidOfRawDigest } from '../../protocol/ipfs/cid.ts'
import { domainHost, resolveHost } from './resolve-host.ts'

const cid = cidOfRawDigest(sha256(utf8.encode('spec'))).toString()

test.each([
  ['localhost:8080', 'control'],
  ['LocalHost', 'control'],
  ['localhost.:80', 'control'],
  ['127.0.0.1:8080', 'control'],
  ['[::1]:8080', 'control'],
  ['alice.localhost:8080', 'name'],
  ['Alice.LOCALHOST.', 'name'],
  ['a-1.localhost', 'name'],
  [`${'a'.repeat(63)}.localhost`, 'name'],
  ['b.alice.localhost', 'unknown'],
  ['example.org', 'foreign'],
  ['Oracle.TEST.:8080', 'foreign'],
  ['xn--bcher-kva.example', 'foreign'],
  ['a.b.c.example', 'foreign'],
  ['0x7f.1', 'unknown'],
  ['127.1', 'unknown'],
  ['example.0x7f', 'unknown'],
  ['printer.local', 'unknown'],
  ['a.b.invalid', 'unknown'],
  ['-a.example', 'unknown'],
  ['a_b.example', 'unknown'],
  ['a..example', 'unknown'],
  [`${'a'.repeat(64)}.example`, 'unknown'],
  ['any.localhost', 'any'],
  ['ANY.localhost:1', 'any'],
  [`${cid}.alice.localhost`, 'origin'],
  [`${cid.toUpperCase()}.Alice.localhost`, 'origin'],
  [`${cid}.any.localhost`, 'origin'],
  [`${cid}.a.b.localhost`, 'unknown'],
  [`${cid}.a_b.localhost`, 'malformed'],
  [`${cid}x.alice.localhost`, 'unknown'],
  [`${cid.slice(0, -1)}.alice.localhost`, 'unknown'],
  ['QmRAQB6YaCyidP37UdDnjFY5vQuiBrcqdyoW1CuDgwxkD4.alice.localhost', 'unknown'],
  // A CID alone is a name like any other.
  [`${cid}.localhost`, 'name'],
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
  expect(resolveHost('ALICE.localhost.:8080', 'localhost')).toEqual({ kind: 'name', name: 'alice' })
})

test('the CID of an origin is known by one spelling, too', () => {
  const meaning = resolveHost(`${cid.toUpperCase()}.ALICE.localhost:8080`, 'localhost')
  expect(meaning.kind === 'origin' && [meaning.cid.toString(), meaning.provider]).toEqual([cid, 'alice'])
})

test('any text means something, and a provider only with a whole label before the domain', () => {
  fc.assert(
    fc.property(fc.string(), fc.constantFrom('', '.localhost', 'localhost', ':1'), (text, end) => {
      const meaning = resolveHost(text + end, 'localhost')
      if (meaning.kind === 'name') expect((text + end).toLowerCase()).toContain(`${meaning.name}.localhost`)
    }),
  )
})

test('the host of a domain has neither port nor final dot', () => {
  expect(domainHost('LocalHost:8080')).toBe('localhost')
  expect(domainHost('gw.example.org.')).toBe('gw.example.org')
})
