import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { withBitswap } from '@helia/bitswap'
import { withLibp2pLight } from '@helia/libp2p'
import { unixfs } from '@helia/unixfs'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { MemoryBlockstore } from 'blockstore-core'
import { createHeliaLight } from 'helia'
import { expect, test } from 'vitest'
import { MiB } from '../../protocol/base/bytes.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createContentSource } from '../../protocol/ipfs/fetch-content.ts'
import { createHeliaNode } from '../../protocol/ipfs/helia-node.ts'
import { importFile, storeFile } from '../../protocol/ipfs/import-file.ts'
import { openBlockstore } from '../../protocol/ipfs/open-blockstore.ts'

const { signal } = new AbortController()
const log = createTestLog()
const program = new Uint8Array(3 * MiB + 17).map((_, i) => (i * 13) % 253)

async function createDir() {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-helia-'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) }
}

/** A peer as anybody else would write it, with nothing of ours. */
async function createStranger() {
  const stranger = await withBitswap(
    withLibp2pLight(createHeliaLight({ blockstore: new MemoryBlockstore() }), {
      addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()],
      services: { identify: identify() },
    }),
  ).start()
  return Object.assign(stranger, { [Symbol.asyncDispose]: async () => void (await stranger.stop()) })
}

test('an independent peer fetches a program from our node by its CID', async () => {
  await using place = await createDir()
  const blockstore = await openBlockstore(join(place.dir, 'blocks'))
  const cid = await storeFile(blockstore, program, signal)
  await using node = await createHeliaNode({ blockstore, log }, { dir: place.dir }, signal)
  await using stranger = await createStranger()
  await stranger.libp2p.dial(multiaddr(node.addresses[0]))
  // Missing from its types; without it the whole file is asked for at once.
  const options = { blockReadConcurrency: 4, signal }
  const chunks = await Array.fromAsync(unixfs(stranger).cat(cid, options))
  expect(Buffer.compare(Buffer.concat(chunks), program)).toBe(0)
})

test('our node fetches a program from an independent peer, and agrees with it on the CID', async () => {
  await using stranger = await createStranger()
  const cid = await unixfs(stranger).addBytes(program)
  expect(cid.toString()).toBe((await importFile(program)).cid.toString())

  await using place = await createDir()
  const blockstore = await openBlockstore(join(place.dir, 'blocks'))
  const peers = stranger.libp2p.getMultiaddrs().map(String)
  await using node = await createHeliaNode({ blockstore, log }, { dir: place.dir, peers }, signal)
  const content = createContentSource({ blockstore, sources: [], peers: node, clock: systemClock, log })
  const fetched = await content.fetchFile(cid, { bytesMax: 4 * MiB }, signal)
  expect(Buffer.compare(fetched, program)).toBe(0)
  expect(await blockstore.has(cid)).toBe(true)
})

test('the peer id survives a restart, and its key is for the operator alone', async () => {
  await using place = await createDir()
  const start = () => createHeliaNode({ blockstore: new MemoryBlockstore(), log }, { dir: place.dir }, signal)
  const ids: string[] = []
  for (let i = 0; i < 2; i += 1) {
    await using node = await start()
    ids.push(node.peerId)
    expect(node.addresses.every((address) => address.startsWith('/ip4/127.0.0.1/tcp/'))).toBe(true)
  }
  expect(ids[0]).toBe(ids[1])
  expect((await stat(join(place.dir, 'peer.key'))).mode & 0o777).toBe(0o600)
})

test('a block that nobody has is given up when its caller is', async () => {
  await using place = await createDir()
  await using stranger = await createStranger()
  const peers = stranger.libp2p.getMultiaddrs().map(String)
  const store = new MemoryBlockstore()
  await using node = await createHeliaNode({ blockstore: store, log }, { dir: place.dir, peers }, signal)
  const { cid } = await importFile(Buffer.from('nobody has this'))
  const waiting = new AbortController()
  const reading = node.readBlock(cid, waiting.signal)
  waiting.abort(new Error('enough'))
  await expect(reading).rejects.toThrow('enough')
})
