import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from './base/bytes.ts'
import { hashProgram } from './program.ts'

const programDigest = sha256(Buffer.from('a zip'))

test('the order in which parameters are written does not matter', () => {
  expect(hashProgram({ programDigest, params: { b: 1, a: 2 } })).toBe(
    hashProgram({ programDigest, params: { a: 2, b: 1 } }),
  )
})

test('other parameters make another program of the same zip', () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.integer()),
      fc.dictionary(fc.string(), fc.integer()),
      (a, b) => {
        const same = JSON.stringify(Object.entries(a).sort()) === JSON.stringify(Object.entries(b).sort())
        expect(hashProgram({ programDigest, params: a }) === hashProgram({ programDigest, params: b })).toBe(
          same,
        )
      },
    ),
  )
})

test('shell tools alone compute the same id', () => {
  const script = `( printf 'a zip' | sha256sum | cut -c1-64 | xxd -r -p; printf '{"a":2,"b":1}' | sha256sum | cut -c1-64 | xxd -r -p ) | sha256sum | cut -c1-64`
  const fallback = script.replaceAll('xxd -r -p', `perl -pe 'chomp; $_=pack("H*",$_)'`)
  const printed = execFileSync('sh', ['-c', fallback], { encoding: 'utf8' }).trim()
  expect(hashProgram({ programDigest, params: { b: 1, a: 2 } })).toBe(`0x${printed}`)
})
