import { MemoryBlockstore } from 'blockstore-core'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { identity } from 'multiformats/hashes/identity'
import { describe, expect, test } from 'vitest'
import { sha256, utf8 } from '../base/bytes.ts'
import { isProtocolError } from '../errors.ts'
import { cidOfRawDigest, digestOfCid, parseContentCid } from './cid.ts'

const hello = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e'

describe('parseContentCid', () => {
  test('reads version 1, raw and dag-pb', () => {
    expect(parseContentCid(hello).toString()).toBe(hello)
    const node = 'bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64'
    expect(parseContentCid(node).toString()).toBe(node)
  })

  test('reads version 0, and gives it back as version 1', () => {
    const cid = parseContentCid('Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD')
    expect(cid.version).toBe(1)
    expect(cid.toString()).toMatch(/^bafybei/)
  })

  const digest = Digest.create(0x12, sha256(utf8.encode('x')))
  test.each([
    ['no text', 7],
    ['nothing', ''],
    ['a word', 'hello'],
    ['a path', `${hello}/x`],
    ['a long text', 'b'.repeat(100_000)],
    ['an identity CID', CID.createV1(0x55, identity.digest(utf8.encode('tiny'))).toString()],
    [
      'a digest cut to two bytes',
      CID.createV1(0x55, Digest.create(0x12, digest.digest.subarray(0, 2))).toString(),
    ],
    ['another codec', CID.createV1(0x71, digest).toString()],
    ['another hash', CID.createV1(0x55, Digest.create(0x13, new Uint8Array(64))).toString()],
  ])('refuses %s', (_name, text) => {
    expect(() => parseContentCid(text)).toThrow(expect.objectContaining({ code: 'cid_malformed' }))
  })

  test('gives a CID or a refusal for any text', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          return parseContentCid(text) !== undefined
        } catch (error) {
          return isProtocolError(error) && error.message.length < 300
        }
      }),
    )
  })
})

test('a raw CID holds what sha256sum prints', () => {
  const digest = sha256(utf8.encode('hello world'))
  expect(cidOfRawDigest(digest).toString()).toBe(hello)
  expect(digestOfCid(parseContentCid(hello))).toEqual(new Uint8Array(digest))
  expect(new MemoryBlockstore().has(cidOfRawDigest(digest))).toBe(false)
})
