import { createCipheriv } from 'node:crypto'
import { MemoryBlockstore } from 'blockstore-core'
import { describe, expect, test } from 'vitest'
import { MiB, sha256, utf8 } from '../base/bytes.ts'
import { isBlockOf } from './cid.ts'
import { cidOfFile, importFile, storeFile } from './import-file.ts'
import { readVerifiedFile } from './read-file.ts'

/** The generator of Kubo's own CID vectors: ChaCha20 under the seed's hash. */
function seededBytes(seed: string, count: number): Uint8Array {
  return createCipheriv('chacha20', sha256(utf8.encode(seed)), Buffer.alloc(16)).update(Buffer.alloc(count))
}

describe("Kubo's vectors for the profile unixfs-v1-2025", () => {
  test.each([
    [
      'a small file',
      utf8.encode('hello world'),
      'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e',
    ],
    [
      'one chunk',
      seededBytes('chunk-v1-seed', MiB),
      'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta',
    ],
    [
      'one chunk and a byte',
      seededBytes('chunk-v1-seed', MiB + 1),
      'bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64',
    ],
  ])('%s', async (_name, bytes, expected) => {
    expect((await cidOfFile(bytes)).toString()).toBe(expected)
    expect((await importFile(bytes)).cid.toString()).toBe(expected)
  })
})

test('an empty file is the raw block of nothing', async () => {
  const { cid, blocks } = await importFile(new Uint8Array())
  expect(cid.multihash.digest).toEqual(new Uint8Array(sha256()))
  expect(blocks).toHaveLength(1)
})

test('imports in a row and at once do not disturb each other', async () => {
  const files = [0, 1, MiB, 3 * MiB].map((size) => seededBytes('independent', size))
  const inARow: string[] = []
  for (const bytes of files) inARow.push((await cidOfFile(bytes)).toString())
  const atOnce = await Promise.all(files.map(async (bytes) => (await cidOfFile(bytes)).toString()))
  expect(atOnce).toEqual(inARow)
})

test('the blocks are verified, each once, and the root comes last', async () => {
  const { cid, blocks } = await importFile(new Uint8Array(3 * MiB))
  expect(blocks).toHaveLength(2)
  expect(blocks.every((block) => isBlockOf(block.cid, block.bytes))).toBe(true)
  expect(blocks.at(-1)?.cid.toString()).toBe(cid.toString())
})

test('a file that was stored is read back', async () => {
  const blockstore = new MemoryBlockstore()
  const bytes = seededBytes('stored', 3 * MiB + 5)
  const signal = new AbortController().signal
  const cid = await storeFile(blockstore, bytes, signal)
  const read = await readVerifiedFile(blockstore, cid, { bytesMax: bytes.byteLength }, signal)
  expect(Buffer.compare(read, bytes)).toBe(0)
})

test('a store that fails is told once, after every write has ended', async () => {
  let running = 0
  const blockstore = {
    async put(): Promise<never> {
      running += 1
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
      throw new Error('disk full')
    },
  }
  const storing = storeFile(blockstore, seededBytes('full', 4 * MiB), new AbortController().signal)
  await expect(storing).rejects.toThrow('disk full')
  expect(running).toBe(0)
})
