import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CarReader, CarWriter } from '@ipld/car'
import { MemoryBlockstore } from 'blockstore-core'
import { expect, test } from 'vitest'
import { MiB, sha256, toHex, utf8 } from '../../protocol/base/bytes.ts'
import { readVerifiedBlock } from '../../protocol/ipfs/block.ts'
import { digestOfCid } from '../../protocol/ipfs/cid.ts'
import { cidOfFile, importFile } from '../../protocol/ipfs/import-file.ts'
import { packZip } from '../../protocol/ipfs/pack-zip.ts'
import { stageCar } from '../../protocol/ipfs/stage-car.ts'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { dagBudget } from '../../protocol/ipfs/walk.ts'
import { writeCar } from '../../protocol/ipfs/write-car.ts'

const { signal } = new AbortController()
const budget = dagBudget(8 * MiB)
const { cid, blocks } = await importFile(new Uint8Array(3 * MiB + 1).map((_, i) => (i * 11) % 249))

async function createDir() {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-interop-'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) }
}

test('@ipld/car reads the CAR that we write', async () => {
  const blockstore = new MemoryBlockstore()
  for (const block of blocks) await blockstore.put(block.cid, block.bytes)
  const car = writeCar((c, s) => readVerifiedBlock(blockstore, c, s), cid, budget, signal)
  const reader = await CarReader.fromBytes(Buffer.concat(await Array.fromAsync(car)))
  expect((await reader.getRoots()).map(String)).toEqual([cid.toString()])
  const cids = await Array.fromAsync(reader.cids(), String)
  expect(cids.toSorted()).toEqual(blocks.map((block) => block.cid.toString()).toSorted())
})

test('we read the CAR that @ipld/car writes', async () => {
  const { writer, out } = CarWriter.create([cid])
  const writing = (async () => {
    for (const block of blocks) await writer.put(block)
    await writer.close()
  })()
  const blockstore = new MemoryBlockstore()
  const stage = new MemoryBlockstore()
  const staged = await stageCar(out, { root: cid, stage, blockstore, budget }, signal)
  await writing
  await staged.commit(signal)
  expect(staged.blocks).toBe(blocks.length)
})

const hasTool = (tool: string) => {
  try {
    execFileSync('which', [tool], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

test.skipIf(!hasTool('unzip'))('unzip finds no fault in our zip, and the same files', async () => {
  await using place = await createDir()
  const zip = packZip([
    { path: 'lib/naïve.txt', bytes: utf8.encode('naïve') },
    { path: 'run.sh', bytes: utf8.encode('#!/bin/sh\n'), executable: true },
    { path: 'empty', bytes: new Uint8Array() },
  ])
  await writeFile(join(place.dir, 'app.zip'), zip)
  const options = { cwd: place.dir, env: { ...process.env, LC_ALL: 'C.UTF-8' } }
  expect(execFileSync('unzip', ['-t', 'app.zip'], options).toString()).toContain('No errors detected')
  execFileSync('unzip', ['-q', 'app.zip'], options)
  expect(await readFile(join(place.dir, 'lib/naïve.txt'), 'utf8')).toBe('naïve')
  expect((await stat(join(place.dir, 'run.sh'))).mode & 0o777).toBe(0o755)
})

test.skipIf(!hasTool('zip'))('we unpack what zip packs', async () => {
  await using place = await createDir()
  await writeFile(join(place.dir, 'a.txt'), 'text '.repeat(100))
  execFileSync('zip', ['-q', '-r', 'app.zip', 'a.txt'], { cwd: place.dir })
  const entries = await readZip(await readFile(join(place.dir, 'app.zip')), signal)
  expect(entries.map(({ path, bytes }) => [path, bytes.byteLength])).toEqual([['a.txt', 500]])
})

test('the CID of a small file holds what sha256sum prints', async () => {
  await using place = await createDir()
  const bytes = utf8.encode('a program')
  await writeFile(join(place.dir, 'app.zip'), bytes)
  const [printed] = execFileSync('sha256sum', ['app.zip'], { cwd: place.dir }).toString().split(' ')
  expect(toHex(digestOfCid(await cidOfFile(bytes)))).toBe(`0x${printed}`)
  expect(toHex(sha256(bytes))).toBe(`0x${printed}`)
})
