import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { getAddress } from 'viem'
import { expect, test } from 'vitest'
import { limits } from '../../protocol/limits.ts'
import { formatHopToken, verifyHopToken } from './hop-token.ts'

const secret = randomBytes(32)
const provider = getAddress('0x00000000000000000000000000000000000000a1')
const hop = { provider, method: 'POST', target: '/cid?x=1' }
const nowMs = 1_800_000_000_000

test('a gateway of the cluster is believed, for its request and for a moment', () => {
  const token = formatHopToken(secret, hop, nowMs)
  expect(verifyHopToken(secret, { ...hop, token }, nowMs)).toBe(provider)
  expect(verifyHopToken(secret, { ...hop, token, target: '/cid?x=2' }, nowMs)).toBe(undefined)
  expect(verifyHopToken(secret, { ...hop, token, method: 'GET' }, nowMs)).toBe(undefined)
  expect(verifyHopToken(randomBytes(32), { ...hop, token }, nowMs)).toBe(undefined)
  expect(verifyHopToken(secret, { ...hop, token }, nowMs + limits.hopAgeMsMax)).toBe(undefined)
  expect(verifyHopToken(secret, { ...hop, token }, nowMs - limits.hopAgeMsMax)).toBe(undefined)
  const other = token.replace(provider.toLowerCase(), `0x${'b2'.repeat(20)}`)
  expect(verifyHopToken(secret, { ...hop, token: other }, nowMs)).toBe(undefined)
})

test('whatever else is said is believed of nobody', () => {
  const good = formatHopToken(secret, hop, nowMs)
  const altered = fc
    .tuple(fc.nat(good.length - 1), fc.string({ minLength: 1, maxLength: 1 }))
    .map(([index, letter]) => good.slice(0, index) + letter + good.slice(index + 1))
  fc.assert(
    fc.property(fc.oneof(fc.string(), altered), (token) => {
      const isSame = token === good
      // The last letter of Base64 has bits that mean nothing.
      const isSpelling = token.slice(0, -1) === good.slice(0, -1)
      if (!isSame && !isSpelling) expect(verifyHopToken(secret, { ...hop, token }, nowMs)).toBe(undefined)
    }),
  )
})
