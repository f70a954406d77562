import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import type { RequestListener } from 'node:http'
import { gzipSync } from 'node:zlib'
import { MemoryBlockstore } from 'blockstore-core'
import { describe, expect, test } from 'vitest'
import { MiB, utf8 } from '../../protocol/base/bytes.ts'
import { type Clock, createTestClock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { type ReadBlock, readVerifiedBlock } from '../../protocol/ipfs/block.ts'
import { createContentSource } from '../../protocol/ipfs/fetch-content.ts'
import { importFile, storeFile } from '../../protocol/ipfs/import-file.ts'
import { proveKept, uploadCar } from '../../protocol/ipfs/upload-client.ts'
import { encodeCar } from '../../protocol/ipfs/write-car.ts'
import { limits } from '../../protocol/limits.ts'
import { fileNode, rawBlock, tower } from '../support/dag.ts'
import {
  createHttpServer,
  createKeeperServer,
  createOwner,
  market,
  uploadDeps,
} from '../support/keeper-server.ts'

const { signal } = new AbortController()
const program = new Uint8Array(randomBytes(2 * MiB + 100))
const { cid, blocks } = await importFile(program)
const rootFirst = blocks.toReversed()
const car = encodeCar(cid, rootFirst)
const bytesMax = 4 * MiB

function createSource(sources: readonly URL[], { clock = systemClock }: { clock?: Clock } = {}) {
  const blockstore = new MemoryBlockstore()
  const log = createTestLog()
  return { blockstore, log, content: createContentSource({ blockstore, sources, clock, log }) }
}

/** Answers every request in the same way. */
const answer =
  (
    status: number,
    body: Uint8Array = new Uint8Array(),
    headers: Record<string, string> = {},
  ): RequestListener =>
  (_request, response) => {
    response.writeHead(status, headers)
    response.end(body)
  }

function flip(bytes: Uint8Array, at: number): Uint8Array {
  const flipped = Uint8Array.from(bytes)
  flipped[at]! ^= 1
  return flipped
}

async function keeperWithProgram() {
  const server = await createKeeperServer()
  await server.keeper.put(program, { owner: 'operator', expiresAtMs: Date.now() + 60_000 }, signal)
  return server
}

describe('a file is fetched', () => {
  test('from a keeper, verified, and from the local store from then on', async () => {
    const { content, blockstore } = createSource([])
    await using keeper = await keeperWithProgram()
    const remote = createContentSource({
      blockstore,
      sources: () => [keeper.url],
      clock: systemClock,
      log: keeper.log,
    })
    expect(Buffer.compare(await remote.fetchFile(cid, { bytesMax }, signal), program)).toBe(0)
    expect(Buffer.compare(await content.fetchFile(cid, { bytesMax }, signal), program)).toBe(0)
  })

  test('as one raw block where it is one', async () => {
    await using keeper = await createKeeperServer()
    const small = utf8.encode('small')
    const root = await keeper.keeper.put(
      small,
      { owner: 'operator', expiresAtMs: Date.now() + 60_000 },
      signal,
    )
    const { content } = createSource([keeper.url])
    expect(Buffer.from(await content.fetchFile(root, { bytesMax }, signal)).toString()).toBe('small')
  })

  test('from the next keeper, where the first one lies, is gone, redirects or answers an error', async () => {
    await using keeper = await keeperWithProgram()
    await using liar = await createHttpServer(answer(200, flip(car, car.byteLength - 9)))
    await using failing = await createHttpServer(answer(500))
    await using redirecting = await createHttpServer(answer(302, undefined, { location: keeper.url.href }))
    await using empty = await createHttpServer(answer(404))
    const gone = new URL('http://127.0.0.1:1')
    for (const { url } of [liar, failing, redirecting, empty, { url: gone }]) {
      const { content } = createSource([url, keeper.url])
      expect(Buffer.compare(await content.fetchFile(cid, { bytesMax }, signal), program)).toBe(0)
    }
  })

  test('from the second keeper after a second, where the first one hangs', async () => {
    await using keeper = await keeperWithProgram()
    const asked = Promise.withResolvers<void>()
    await using hanging = await createHttpServer(() => asked.resolve())
    const clock = createTestClock()
    const { content } = createSource([hanging.url, keeper.url], { clock })
    const fetching = content.fetchFile(cid, { bytesMax }, signal)
    await asked.promise
    await clock.advance(limits.contentRaceDelayMs)
    expect(Buffer.compare(await fetching, program)).toBe(0)
    expect(clock.sleepers).toBe(0)
  })

  test('again, where a block in the local store has rotten', async () => {
    await using keeper = await keeperWithProgram()
    const { content, blockstore, log } = createSource([keeper.url])
    await storeFile(blockstore, program, signal)
    await blockstore.put(blocks[0]!.cid, utf8.encode('rotten'))
    expect(Buffer.compare(await content.fetchFile(cid, { bytesMax }, signal), program)).toBe(0)
    expect(log.lines).toMatchObject([{ event: 'stored_block_damaged' }])
    expect(await readVerifiedBlock(blockstore, blocks[0]!.cid, signal)).toHaveLength(MiB)
  })

  test('once, for all who ask at once', async () => {
    let requests = 0
    await using server = await createHttpServer((request, response) => {
      requests += 1
      answer(200, car)(request, response)
    })
    const { content } = createSource([server.url])
    const all = await Promise.all(
      Array.from({ length: 10 }, () => content.fetchFile(cid, { bytesMax }, signal)),
    )
    expect(requests).toBe(1)
    expect(all.every((bytes) => Buffer.compare(bytes, program) === 0)).toBe(true)
  })

  test('to its end for those who stay, when one gives up; and not for nobody', async () => {
    const asked = Promise.withResolvers<() => void>()
    const closed = Promise.withResolvers<void>()
    await using server = await createHttpServer((request, response) => {
      response.on('close', () => closed.resolve())
      asked.resolve(() => answer(200, car)(request, response))
    })
    const { content } = createSource([server.url])
    const leaving = new AbortController()
    const left = content.fetchFile(cid, { bytesMax }, leaving.signal)
    const stayed = content.fetchFile(cid, { bytesMax }, signal)
    const answerNow = await asked.promise
    leaving.abort(new Error('gone'))
    await expect(left).rejects.toThrow('gone')
    answerNow()
    expect(Buffer.compare(await stayed, program)).toBe(0)

    const other = await importFile(utf8.encode('other'))
    const alone = new AbortController()
    const asking = createSource([server.url]).content.fetchFile(other.cid, { bytesMax }, alone.signal)
    alone.abort(new Error('nobody left'))
    await expect(asking).rejects.toThrow('nobody left')
    await closed.promise
  })
})

describe('a file that cannot be had', () => {
  async function refusal(listeners: readonly RequestListener[], of = cid, { rotten = false } = {}) {
    await using servers = new AsyncDisposableStack()
    const urls: URL[] = []
    for (const listener of listeners) urls.push(servers.use(await createHttpServer(listener)).url)
    const { content, blockstore } = createSource(urls)
    if (rotten) await blockstore.put(of, utf8.encode('rotten'))
    const error = await content.fetchFile(of, { bytesMax }, signal).catch((e) => e)
    return {
      code: error.code,
      sources: (error.details.sources ?? []).map((source: { code: string }) => source.code),
      error,
    }
  }

  test('is not found, where every source says so', async () => {
    const { code, sources } = await refusal([answer(404), answer(404), answer(410)])
    expect({ code, sources }).toEqual({
      code: 'cid_not_found',
      sources: ['cid_not_found', 'cid_not_found', 'cid_not_found'],
    })
    expect(await refusal([])).toMatchObject({ code: 'cid_not_found', sources: [] })
  })

  test('is unreachable, where one source did not answer', async () => {
    const breaking: RequestListener = (_request, response) => {
      response.writeHead(200, { 'content-length': String(car.byteLength) })
      response.write(car.subarray(0, 100_000), () => response.destroy())
    }
    const hangingUp: RequestListener = (request) => request.socket.destroy()
    for (const listener of [
      breaking,
      hangingUp,
      answer(500),
      answer(302),
      answer(200, car.subarray(0, 90)),
    ]) {
      expect(await refusal([answer(404), listener])).toMatchObject({
        code: 'content_unreachable',
        sources: ['cid_not_found', 'content_unreachable'],
      })
    }
  })

  test.each<[string, RequestListener]>([
    ['a flipped byte', answer(200, flip(car, 300_000))],
    ['the wrong root', answer(200, encodeCar(cid, [rawBlock(utf8.encode('evil'))]))],
    ['no CAR at all', answer(200, utf8.encode('<html>welcome</html>'.repeat(500)))],
    [
      'endless bytes',
      (_request, response) => {
        response.writeHead(200)
        const chunk = Buffer.concat([encodeCar(cid, [rootFirst[0]!])])
        response.write(chunk)
        const again = chunk.subarray(encodeCar(cid, []).byteLength)
        const write = () => {
          while (
            !response.destroyed &&
            response.write(Buffer.concat(Array.from({ length: 1000 }, () => again)))
          );
        }
        response.on('drain', write)
        write()
      },
    ],
    ['a bomb of gzip', answer(200, gzipSync(new Uint8Array(200 * MiB)), { 'content-encoding': 'gzip' })],
    [
      'that its own store is damaged',
      answer(502, utf8.encode(JSON.stringify({ code: 'cid_mismatch', detail: 'd', hint: 'h' }))),
    ],
  ])('is a mismatch, where a source gave %s', async (_what, listener) => {
    expect(await refusal([listener, answer(404)])).toMatchObject({ code: 'cid_mismatch' })
  })

  test('is a mismatch, where a raw block is another one, or never ends', async () => {
    const one = rawBlock(utf8.encode('good program')).cid
    expect(await refusal([answer(200, utf8.encode('evil program'))], one)).toMatchObject({
      code: 'cid_mismatch',
    })
    const huge = answer(200, new Uint8Array(limits.blockBytesMax + 1))
    expect(await refusal([huge], one)).toMatchObject({ code: 'cid_mismatch' })
  })

  test('is a mismatch, where the local block has rotten and nobody has another', async () => {
    expect(await refusal([answer(404)], cid, { rotten: true })).toMatchObject({ code: 'cid_mismatch' })
  })

  test('is too large, where its own verified blocks say so', async () => {
    const bomb = tower(rawBlock(new Uint8Array(256 * 1024)), { height: 24, width: 2 })
    const root = bomb[0]!.cid
    expect(await refusal([answer(200, encodeCar(root, bomb))], root)).toMatchObject({
      code: 'content_too_large',
    })
    const big = await importFile(new Uint8Array(randomBytes(7 * MiB)))
    const whole = encodeCar(big.cid, big.blocks.toReversed())
    expect(await refusal([answer(200, whole)], big.cid)).toMatchObject({ code: 'content_too_large' })
  })

  test('is no program, where its verified blocks are no file', async () => {
    const directory = fileNode([], { type: 'directory' })
    const listener = answer(200, encodeCar(directory.cid, [directory]))
    await using server = await createHttpServer(listener)
    const { content } = createSource([server.url])
    await expect(content.fetchFile(directory.cid, { bytesMax }, signal)).rejects.toMatchObject({
      code: 'program_invalid',
    })
  })

  test('tells which source did what, and keeps nothing that was not verified', async () => {
    await using liar = await createHttpServer(answer(200, flip(car, 200_000)))
    const { content, blockstore } = createSource([liar.url])
    const error = await content.fetchFile(cid, { bytesMax }, signal).catch((e) => e)
    expect(error.details.sources).toMatchObject([{ source: liar.url.host, code: 'cid_mismatch' }])
    for await (const block of blockstore.getAll()) {
      const stored = await readVerifiedBlock(blockstore, block.cid, signal)
      expect(stored.byteLength).toBeGreaterThan(0)
    }
  })

  test('is our own failure, where our disk is full', async () => {
    await using keeper = await keeperWithProgram()
    const blockstore = {
      get: (key: typeof cid) => new MemoryBlockstore().get(key),
      put: async () => Promise.reject(new Error('ENOSPC')),
    }
    const log = createTestLog()
    const content = createContentSource({ blockstore, sources: [keeper.url], clock: systemClock, log })
    await expect(content.fetchFile(cid, { bytesMax }, signal)).rejects.toThrow('ENOSPC')
  })

  test('that nobody has stops nobody: who waits for silent peers takes no place at the keepers', async () => {
    await using keeper = await keeperWithProgram()
    const asked = new EventEmitter()
    const readBlock: ReadBlock = (wanted, readSignal) => {
      asked.emit('peers', wanted)
      return raceSignal(new Promise(() => undefined), readSignal)
    }
    const blockstore = new MemoryBlockstore()
    const sources = [keeper.url]
    const deps = { blockstore, sources, peers: { readBlock }, clock: systemClock, log: createTestLog() }
    const content = createContentSource(deps)
    const stop = new AbortController()
    const fetchMadeUp = async (i: number) => {
      const madeUp = await importFile(utf8.encode(`made up ${i}`))
      return content.fetchFile(madeUp.cid, { bytesMax }, stop.signal)
    }
    const waiting: Promise<unknown>[] = []
    for (let i = 0; i < limits.contentPeerFetchesMax; i += 1) {
      const peersAsked = once(asked, 'peers')
      waiting.push(fetchMadeUp(i).catch((error) => error))
      await peersAsked
    }
    expect(Buffer.compare(await content.fetchFile(cid, { bytesMax }, signal), program)).toBe(0)
    await expect(fetchMadeUp(waiting.length)).rejects.toMatchObject({ code: 'content_unreachable' })
    stop.abort('enough')
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['enough']))
  })

  test('is refused in time, where too many are fetched', async () => {
    await using hanging = await createHttpServer(() => undefined)
    const { content } = createSource([hanging.url])
    const stop = new AbortController()
    const others = await Promise.all(
      Array.from(
        { length: limits.contentFetchesMax + 1 },
        async (_, i) => (await importFile(utf8.encode(`${i}`))).cid,
      ),
    )
    const results = others.map((other) => content.fetchFile(other, { bytesMax }, stop.signal).catch((e) => e))
    expect(await Promise.race(results)).toMatchObject({ code: 'provider_busy' })
    stop.abort(new Error('enough'))
    expect((await Promise.all(results)).filter(({ message }) => message === 'enough')).toHaveLength(
      limits.contentFetchesMax,
    )
  })
})

describe('a keeper that lies to whoever uploads', () => {
  const uploadTo = (url: URL) =>
    uploadCar(uploadDeps, { keeperUrl: url, root: cid, blocks, owner: createOwner(), market }, signal)

  test('about the CID', async () => {
    const kept = { root: blocks[0]!.cid.toString(), bytes: 1, expiresAtMs: 1 }
    await using server = await createHttpServer((request, response) => {
      request.resume().on('end', () => answer(201, utf8.encode(JSON.stringify(kept)))(request, response))
    })
    await expect(uploadTo(server.url)).rejects.toMatchObject({ code: 'cid_mismatch' })
  })

  test('about having it', async () => {
    await using server = await createHttpServer(answer(404))
    const proving = proveKept({ keeperUrl: server.url, root: cid, bytes: program }, signal)
    await expect(proving).rejects.toMatchObject({ code: 'cid_not_found' })
  })

  test('about its bytes', async () => {
    await using server = await createHttpServer(answer(200, flip(car, 400_000)))
    const proving = proveKept({ keeperUrl: server.url, root: cid, bytes: program }, signal)
    await expect(proving).rejects.toMatchObject({ code: 'cid_mismatch' })
  })

  test('or is no keeper, or is down', async () => {
    await using server = await createHttpServer((request, response) => {
      request.resume().on('end', () => answer(200, utf8.encode('<html>'))(request, response))
    })
    await expect(uploadTo(server.url)).rejects.toMatchObject({ code: 'keeper_unreachable' })
    await expect(uploadTo(new URL('http://127.0.0.1:1'))).rejects.toMatchObject({
      code: 'keeper_unreachable',
    })
  })
})
