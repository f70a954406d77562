import { CID } from 'multiformats/cid'
import { hexToBytes } from 'viem'
import { expect, test } from 'vitest'
import { sha256, utf8 } from '../base/bytes.ts'
import { cidOfRawDigest } from './cid.ts'
import { formatContenthash, parseContenthash } from './contenthash.ts'

test('what ENSIP-7 gives as an example is read and written', () => {
  const hex = '0xe3010170122029f2d17be6139079dc48696d1f582a8530eb9805b561eda517e22a892c7e3f1f'
  const cid = CID.parse('QmRAQB6YaCyidP37UdDnjFY5vQuiBrcqdyoW1CuDgwxkD4')
  expect(parseContenthash(hexToBytes(hex))?.toV0().toString()).toBe(cid.toString())
  expect(formatContenthash(cid)).toBe(hex)
})

test('the CID of a deployment goes there and back; nothing is nothing', () => {
  const cid = cidOfRawDigest(sha256(utf8.encode('spec')))
  expect(parseContenthash(hexToBytes(formatContenthash(cid)))?.equals(cid)).toBe(true)
  expect(parseContenthash(new Uint8Array())).toBeUndefined()
})

test.each([
  ['a Swarm hash', '0xe40101fa011b20d1de9994b4d039f6548d191eb26786769f580809256b4685ef316805265ea162'],
  ['half a namespace', '0xe3'],
  ['a namespace without a CID', '0xe301'],
  ['a CID that is cut', '0xe3010170122029f2d17be6139079'],
  ['bytes after the CID', '0xe3010170122029f2d17be6139079dc48696d1f582a8530eb9805b561eda517e22a892c7e3f1f00'],
  ['an identity hash', '0xe3010155000568656c6c6f'],
  ['very many bytes', `0xe301${'00'.repeat(1000)}`],
] as const)('%s is no content of this network', (_, hex) => {
  expect(() => parseContenthash(hexToBytes(hex))).toThrow(expect.objectContaining({ code: 'cid_malformed' }))
})
