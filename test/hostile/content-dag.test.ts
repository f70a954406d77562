import { setImmediate } from 'node:timers/promises'
import { MemoryBlockstore } from 'blockstore-core'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { identity } from 'multiformats/hashes/identity'
import { describe, expect, test } from 'vitest'
import { KiB, MiB, utf8 } from '../../protocol/base/bytes.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { type Block, type ReadBlock, readVerifiedBlock } from '../../protocol/ipfs/block.ts'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { readFileFrom, readVerifiedFile } from '../../protocol/ipfs/read-file.ts'
import { dagBudget, walkDag } from '../../protocol/ipfs/walk.ts'
import { limits } from '../../protocol/limits.ts'
import { fileNode, nodeBlock, rawBlock, tower } from '../support/dag.ts'

const { signal } = new AbortController()

async function storeOf(blocks: readonly Block[]) {
  const blockstore = new MemoryBlockstore()
  for (const { cid, bytes } of blocks) await blockstore.put(cid, bytes)
  return blockstore
}

async function readRoot(blocks: readonly Block[], bytesMax: number = MiB): Promise<Uint8Array> {
  return readVerifiedFile(await storeOf(blocks), blocks[0]!.cid, { bytesMax }, signal)
}

async function countBlocks(blocks: readonly Block[], bytesMax: number = MiB): Promise<number> {
  const blockstore = await storeOf(blocks)
  let count = 0
  const readBlock = (cid: CID, s: AbortSignal) => readVerifiedBlock(blockstore, cid, s)
  for await (const _ of walkDag(readBlock, blocks[0]!.cid, dagBudget(bytesMax), signal)) count += 1
  return count
}

describe('bombs', () => {
  const bomb = tower(rawBlock(new Uint8Array(256 * KiB)), { height: 24, width: 2 })

  test('25 blocks that claim 4 TiB are refused at the first', async () => {
    await expect(readRoot(bomb, limits.zipBytesMax)).rejects.toMatchObject({ code: 'content_too_large' })
  })

  test('and a walk over them sees 25 blocks, not 16 million', async () => {
    expect(await countBlocks(bomb)).toBe(25)
  })

  test('a graph of nothing but empty pieces is read in as many steps as it has blocks', async () => {
    const empty = tower(rawBlock(new Uint8Array()), { height: 30, width: 8 })
    expect(await readRoot(empty, 0)).toHaveLength(0)
  })

  test('sizes near 2^64 do not add up to something small', async () => {
    const leaf = rawBlock(utf8.encode('x'))
    const sizes = Array.from({ length: 1000 }, () => 2n ** 64n - 1n)
    const root = fileNode(sizes.map((size) => ({ cid: leaf.cid, size })))
    await expect(readRoot([root, leaf])).rejects.toMatchObject({ code: 'content_too_large' })
  })

  test('a chain that is too deep', async () => {
    const chain = tower(rawBlock(utf8.encode('x')), { height: limits.dagDepthMax + 1, width: 1 })
    await expect(readRoot(chain)).rejects.toMatchObject({ code: 'program_invalid' })
    await expect(countBlocks(chain)).rejects.toMatchObject({ code: 'program_invalid' })
  })

  test('too many links', async () => {
    const leaf = rawBlock(new Uint8Array())
    const link = { cid: leaf.cid, size: 0n }
    const wide = [35_000, 35_001, 35_002].map((links) => fileNode(Array.from({ length: links }, () => link)))
    const root = fileNode(wide.map(({ cid }) => ({ cid, size: 0n })))
    await expect(readRoot([root, ...wide, leaf])).rejects.toMatchObject({ code: 'content_too_large' })
    await expect(countBlocks([root, ...wide, leaf])).rejects.toMatchObject({ code: 'content_too_large' })
  })

  test('too many blocks', async () => {
    const leaves = Array.from({ length: limits.dagBlocksMax }, (_, i) => rawBlock(utf8.encode(`${i}`)))
    const root = fileNode(leaves.map(({ cid, bytes }) => ({ cid, size: BigInt(bytes.byteLength) })))
    await expect(readRoot([root, ...leaves])).rejects.toMatchObject({ code: 'content_too_large' })
  })

  test('nodes that are heavy with padding', async () => {
    const leaf = rawBlock(utf8.encode('x'))
    const padding = { data: new Uint8Array(), name: 'p'.repeat(900 * KiB) }
    const heavy = Array.from({ length: 4 }, (_, i) =>
      fileNode([{ cid: leaf.cid, size: 1n, name: `${i}${padding.name}` }]),
    )
    const root = fileNode(heavy.map(({ cid }) => ({ cid, size: 1n })))
    await expect(readRoot([root, ...heavy, leaf])).rejects.toMatchObject({ code: 'content_too_large' })
  })

  test('a block above 2 MiB is not taken from a store', async () => {
    const fat = rawBlock(new Uint8Array(limits.blockBytesMax + 1))
    await expect(readRoot([fat], 10 * MiB)).rejects.toMatchObject({ code: 'cid_mismatch' })
  })
})

describe('content that is no file of ours', () => {
  const leaf = rawBlock(utf8.encode('hello'))
  const link = { cid: leaf.cid, size: 5n }
  test.each<[string, readonly Block[]]>([
    ['a directory', [fileNode([{ ...link, name: 'a.txt' }], { type: 'directory', sizes: [] }), leaf]],
    [
      'a directory with hostile names',
      [fileNode([{ ...link, name: '../../evil' }], { type: 'directory', sizes: [] })],
    ],
    ['a sharded directory', [fileNode([link], { type: 'hamt-sharded-directory', sizes: [] }), leaf]],
    ['a symbolic link', [fileNode([], { type: 'symlink', data: utf8.encode('/etc/passwd') })]],
    ['metadata', [fileNode([], { type: 'metadata' })]],
    ['a node that is no protobuf', [nodeBlock(Uint8Array.from([0xff, 0xff, 0xff]))]],
    ['a node with data that is no UnixFS', [nodeBlock(Uint8Array.from([0x0a, 0x02, 0xff, 0xff]))]],
    ['a piece that has more than is claimed', [fileNode([{ ...link, size: 3n }]), leaf]],
    ['a piece that has less than is claimed', [fileNode([{ ...link, size: 9n }]), leaf]],
    ['a second claim that differs', [fileNode([link, { ...link, size: 1n }]), leaf]],
    ['fewer sizes than links', [fileNode([link, link], { sizes: [5n] }), leaf]],
    ['sizes without links', [fileNode([], { sizes: [5n] })]],
    ['bytes of its own beside links', [fileNode([link], { data: utf8.encode('extra') }), leaf]],
    [
      'a bad node at depth 1',
      [fileNode([{ cid: nodeBlock(Uint8Array.of(0xff)).cid, size: 5n }]), nodeBlock(Uint8Array.of(0xff))],
    ],
    [
      'an identity link',
      [fileNode([{ cid: CID.createV1(0x55, identity.digest(utf8.encode('hello'))), size: 5n }])],
    ],
  ])('%s is refused', async (_what, blocks) => {
    await expect(readRoot(blocks)).rejects.toMatchObject({ code: 'program_invalid' })
  })

  test('a bad node below depth 2 is an error of this read alone', async () => {
    const bad = nodeBlock(Uint8Array.from([0xff, 0xff, 0xff]))
    const middle = fileNode([{ cid: bad.cid, size: 13n }])
    const root = fileNode([{ cid: middle.cid, size: 13n }])
    await expect(readRoot([root, middle, bad])).rejects.toMatchObject({ code: 'program_invalid' })
  })

  test('a missing block below depth 2 is named', async () => {
    const middle = fileNode([link])
    const root = fileNode([{ cid: middle.cid, size: 5n }])
    await expect(readRoot([root, middle])).rejects.toMatchObject({
      code: 'cid_not_found',
      details: { cid: leaf.cid.toString() },
    })
  })
})

test('a flipped bit anywhere in a stored file is found before the file is used', async () => {
  const bytes = new Uint8Array(3 * MiB + 7).map((_, i) => (i * 7) % 251)
  const { cid, blocks } = await importFile(bytes)
  for (const victim of blocks) {
    const blockstore = await storeOf(blocks)
    const rotten = Uint8Array.from(victim.bytes)
    rotten[rotten.byteLength - 1]! ^= 1
    await blockstore.put(victim.cid, rotten)
    await expect(readVerifiedFile(blockstore, cid, { bytesMax: 4 * MiB }, signal)).rejects.toMatchObject({
      code: 'cid_mismatch',
      details: { cid: victim.cid.toString() },
    })
  }
})

test('a file is read within its own size and refused one byte below', async () => {
  const { cid, blocks } = await importFile(new Uint8Array(2 * MiB + 1))
  const blockstore = await storeOf(blocks)
  expect(await readVerifiedFile(blockstore, cid, { bytesMax: 2 * MiB + 1 }, signal)).toHaveLength(2 * MiB + 1)
  await expect(readVerifiedFile(blockstore, cid, { bytesMax: 2 * MiB }, signal)).rejects.toMatchObject({
    code: 'content_too_large',
  })
})

test('however many blocks a file has, few are asked for at a time, and so few are held', async () => {
  const leaves = Array.from({ length: 200 }, (_, i) => rawBlock(Uint8Array.of(i)))
  const root = fileNode(leaves.map(({ cid }) => ({ cid, size: 1n })))
  const blockstore = await storeOf([root, ...leaves])
  let asked = 0
  let askedAtOnce = 0
  const readBlock: ReadBlock = async (cid, s) => {
    asked += 1
    askedAtOnce = Math.max(askedAtOnce, asked)
    await setImmediate()
    asked -= 1
    return readVerifiedBlock(blockstore, cid, s)
  }
  expect(await readFileFrom(readBlock, root.cid, { bytesMax: KiB }, signal)).toHaveLength(200)
  const walked = await Array.fromAsync(walkDag(readBlock, root.cid, dagBudget(KiB), signal))
  expect(walked).toHaveLength(201)
  expect(askedAtOnce).toBeLessThanOrEqual(8)
})

test('any bytes as a node give a file or a refusal', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      const result = await readRoot([nodeBlock(bytes)]).catch((error) => error)
      expect(result instanceof Uint8Array || isProtocolError(result)).toBe(true)
    }),
  )
})
