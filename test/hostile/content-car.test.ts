import { MemoryBlockstore } from 'blockstore-core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { MiB, utf8 } from '../../protocol/base/bytes.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { type Block, readVerifiedBlock } from '../../protocol/ipfs/block.ts'
import type { CID } from '../../protocol/ipfs/cid.ts'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { receiveCar } from '../../protocol/ipfs/receive-car.ts'
import { stageCar } from '../../protocol/ipfs/stage-car.ts'
import { dagBudget } from '../../protocol/ipfs/walk.ts'
import { encodeCar, writeCar } from '../../protocol/ipfs/write-car.ts'
import { fileNode, nodeBlock, rawBlock, tower } from '../support/dag.ts'

const { signal } = new AbortController()
const budget = dagBudget(16 * MiB)
const bytes = new Uint8Array(3 * MiB + 11).map((_, i) => (i * 31) % 255)
const { cid: root, blocks: leavesFirst } = await importFile(bytes)
const rootFirst = leavesFirst.toReversed()

async function* inChunks(car: Uint8Array, chunkBytes = 60_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < car.byteLength; at += chunkBytes) yield car.subarray(at, at + chunkBytes)
}

async function countOf(blockstore: MemoryBlockstore): Promise<number> {
  let count = 0
  for await (const _ of blockstore.getAll()) count += 1
  return count
}

async function receive(car: Uint8Array, of: CID = root, chunkBytes?: number) {
  const blockstore = new MemoryBlockstore()
  await receiveCar(inChunks(car, chunkBytes), { root: of, blockstore, budget }, signal)
  return blockstore
}

async function stage(car: Uint8Array, { of = root, blockstore = new MemoryBlockstore() } = {}) {
  const stage = new MemoryBlockstore()
  const { commit, ...staged } = await stageCar(inChunks(car), { root: of, stage, blockstore, budget }, signal)
  await commit(signal)
  return { ...staged, blockstore }
}

function flip(car: Uint8Array, at: number): Uint8Array {
  const flipped = Uint8Array.from(car)
  flipped[at]! ^= 1
  return flipped
}

describe('a CAR that a keeper answers', () => {
  const car = encodeCar(root, rootFirst)

  test('is taken in chunks of any size', async () => {
    for (const chunkBytes of [1000, 65_536, car.byteLength]) {
      expect(await countOf(await receive(car, root, chunkBytes))).toBe(rootFirst.length)
    }
  })

  test('stops being read when everything is there', async () => {
    const endless = async function* () {
      yield car
      throw new Error('nobody should read on')
    }
    const blockstore = new MemoryBlockstore()
    await receiveCar(endless(), { root, blockstore, budget }, signal)
    expect(await countOf(blockstore)).toBe(rootFirst.length)
  })

  test('with a block that nothing links is a lie, even if the block is well hashed', async () => {
    const stranger = rawBlock(utf8.encode('stranger'))
    const lie = receive(encodeCar(root, [stranger, ...rootFirst]))
    await expect(lie).rejects.toMatchObject({ code: 'cid_mismatch' })
  })

  test('with one flipped bit is a lie', async () => {
    await expect(receive(flip(car, car.byteLength - 100))).rejects.toMatchObject({ code: 'cid_mismatch' })
    await expect(receive(flip(car, 120))).rejects.toMatchObject({ code: 'cid_mismatch' })
  })

  test('of another root is a lie', async () => {
    const other = await importFile(utf8.encode('other'))
    await expect(receive(car, other.cid)).rejects.toMatchObject({ code: 'cid_mismatch' })
  })

  test('that is cut short is an unreachable source', async () => {
    for (const at of [0, 1, 30, 70, 2_000_000, car.byteLength - 1]) {
      await expect(receive(car.subarray(0, at))).rejects.toMatchObject({ code: 'content_unreachable' })
    }
  })

  test('that leaves out a block is an unreachable source', async () => {
    const partial = receive(encodeCar(root, rootFirst.slice(0, -1)))
    await expect(partial).rejects.toMatchObject({ code: 'content_unreachable' })
  })

  test('with more than the budget is too large', async () => {
    const blockstore = new MemoryBlockstore()
    const small = receiveCar(
      inChunks(car),
      { root, blockstore, budget: { ...budget, bytesMax: MiB } },
      signal,
    )
    await expect(small).rejects.toMatchObject({ code: 'content_too_large' })
  })

  test('that leads down without end is refused', async () => {
    const chain = tower(rawBlock(utf8.encode('x')), { height: 40, width: 1 })
    await expect(receive(encodeCar(chain[0]!.cid, chain), chain[0]!.cid)).rejects.toMatchObject({
      code: 'program_invalid',
    })
  })

  test('whose section claims gigabytes is refused before they are awaited', async () => {
    const header = encodeCar(root, [])
    const section = Buffer.concat([header, Buffer.from('ffffffff0f', 'hex')])
    await expect(receive(section)).rejects.toMatchObject({ code: 'cid_mismatch' })
  })

  test('that fails to be written says so, and ends no process', async () => {
    const blockstore = { put: async () => Promise.reject(new Error('disk full')) }
    await expect(receiveCar(inChunks(car), { root, blockstore, budget }, signal)).rejects.toThrow('disk full')
  })
})

describe('a CAR that is uploaded', () => {
  const car = encodeCar(root, leavesFirst)

  test('is taken in any order', async () => {
    for (const blocks of [leavesFirst, rootFirst]) {
      const { blockstore, ...staged } = await stage(encodeCar(root, blocks))
      expect(staged).toEqual({ blocks: 5, bytes: blocks.reduce((sum, b) => sum + b.bytes.byteLength, 0) })
      expect(await countOf(blockstore)).toBe(5)
    }
  })

  test('leaves only what the root reaches', async () => {
    const stranger = rawBlock(utf8.encode('stranger'))
    const { blockstore, blocks } = await stage(encodeCar(root, [stranger, ...leavesFirst]))
    expect(blocks).toBe(5)
    expect(await blockstore.has(stranger.cid)).toBe(false)
  })

  test('may leave out what is kept already', async () => {
    const { blockstore } = await stage(car)
    const { blocks } = await stage(encodeCar(root, []), { blockstore })
    expect(blocks).toBe(5)
  })

  test('repairs a block that has rotten', async () => {
    const { blockstore } = await stage(car)
    const victim = leavesFirst[0]!
    await blockstore.put(victim.cid, utf8.encode('rotten'))
    await expect(stage(encodeCar(root, []), { blockstore })).rejects.toMatchObject({ code: 'upload_invalid' })
    await stage(car, { blockstore })
    expect(await readVerifiedBlock(blockstore, victim.cid, signal)).toHaveLength(victim.bytes.byteLength)
  })

  const badNode = nodeBlock(Uint8Array.of(0xff))
  test.each<[string, Uint8Array, CID, string]>([
    ['one flipped bit', flip(car, car.byteLength - 100), root, 'upload_invalid'],
    ['an end that is missing', car.subarray(0, 2_000_000), root, 'upload_invalid'],
    ['a block that is missing', encodeCar(root, leavesFirst.slice(1)), root, 'upload_invalid'],
    ['a root that is missing', encodeCar(root, leavesFirst.slice(0, -1)), root, 'upload_invalid'],
    ['another root', car, rawBlock(utf8.encode('other')).cid, 'upload_invalid'],
    ['no header', new Uint8Array(), root, 'upload_invalid'],
    ['something else', utf8.encode('PK\x03\x04 this is a zip, not a CAR'), root, 'upload_invalid'],
    ['a node that is none', encodeCar(badNode.cid, [badNode]), badNode.cid, 'upload_invalid'],
    ['version 2', Buffer.from('0aa16776657273696f6e02', 'hex'), root, 'upload_invalid'],
  ])('with %s is refused, and no block stays', async (_what, hostile, of, code) => {
    const blockstore = new MemoryBlockstore()
    await expect(stage(hostile, { of, blockstore })).rejects.toMatchObject({ code })
    expect(await countOf(blockstore)).toBe(0)
  })

  test('holding a bomb is walked once per block', async () => {
    const bomb = tower(rawBlock(new Uint8Array(1000)), { height: 24, width: 2 })
    const { blocks } = await stage(encodeCar(bomb[0]!.cid, bomb), { of: bomb[0]!.cid })
    expect(blocks).toBe(25)
  })

  test('any damage is a refusal or leaves all blocks as they were', async () => {
    const small = [
      fileNode([{ cid: rawBlock(utf8.encode('leaf')).cid, size: 4n }]),
      rawBlock(utf8.encode('leaf')),
    ]
    const good = encodeCar(small[0]!.cid, small)
    await fc.assert(
      fc.asyncProperty(fc.nat(good.byteLength - 1), fc.nat(255), async (at, value) => {
        const damaged = Uint8Array.from(good)
        damaged[at] = value
        const blockstore = new MemoryBlockstore()
        const result = await stage(damaged, { of: small[0]!.cid, blockstore }).catch((error) => error)
        expect(isProtocolError(result) ? await countOf(blockstore) : result.blocks).toBe(
          isProtocolError(result) ? 0 : 2,
        )
      }),
    )
  })
})

describe('a CAR that is written', () => {
  const write = async (blocks: readonly Block[], of: CID) => {
    const blockstore = new MemoryBlockstore()
    for (const block of blocks) await blockstore.put(block.cid, block.bytes)
    return writeCar((cid, s) => readVerifiedBlock(blockstore, cid, s), of, budget, signal)
  }

  test('is read by us and has each block once, depth first', async () => {
    const car = Buffer.concat(await Array.fromAsync(await write(leavesFirst, root)))
    expect(Buffer.compare(car, encodeCar(root, [leavesFirst.at(-1)!, ...leavesFirst.slice(0, -1)]))).toBe(0)
    expect(await countOf(await receive(car))).toBe(5)
  })

  test('ends with an error, not with other bytes, where a block has rotten', async () => {
    const rotten = leavesFirst.map((block, i) =>
      i === 2 ? { ...block, bytes: utf8.encode('rotten') } : block,
    )
    await expect(Array.fromAsync(await write(rotten, root))).rejects.toMatchObject({ code: 'cid_mismatch' })
  })
})
