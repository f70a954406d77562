import { randomBytes } from 'node:crypto'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { KiB, MiB, sha256, toHex, utf8 } from '../../protocol/base/bytes.ts'
import { createTestClock } from '../../protocol/base/clock.ts'
import type { CID } from '../../protocol/ipfs/cid.ts'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { carMediaType } from '../../protocol/ipfs/media-types.ts'
import { signUpload, type Upload } from '../../protocol/ipfs/upload.ts'
import { proveKept, uploadCar } from '../../protocol/ipfs/upload-client.ts'
import { encodeCar } from '../../protocol/ipfs/write-car.ts'
import { limits } from '../../protocol/limits.ts'
import { createKeeperServer, createOwner, market, uploadDeps } from '../support/keeper-server.ts'

type KeeperServer = Awaited<ReturnType<typeof createKeeperServer>>

const { signal } = new AbortController()
const program = new Uint8Array(2 * MiB + 5).map((_, i) => (i * 17) % 241)
const imported = await importFile(program)
const { cid: root, blocks } = imported
const owner = createOwner()

async function upload(server: KeeperServer, content = imported, by = owner) {
  const options = { keeperUrl: server.url, root: content.cid, blocks: content.blocks, owner: by, market }
  return uploadCar(uploadDeps, options, signal)
}

/** Every file of the block store. */
async function listBlocks(server: KeeperServer): Promise<readonly string[]> {
  const names = await readdir(join(server.dir, 'blocks'), { recursive: true })
  return names.filter((name) => name.endsWith('.data'))
}

async function corrupt(server: KeeperServer, cid: CID): Promise<void> {
  for (const name of await listBlocks(server)) {
    const path = join(server.dir, 'blocks', name)
    const bytes = await readFile(path)
    if (Buffer.compare(sha256(bytes), cid.multihash.digest) !== 0) continue
    bytes[bytes.byteLength >> 1]! ^= 1
    await writeFile(path, bytes)
    return
  }
  throw new Error('the block is not there')
}

const get = (server: KeeperServer, path: string, headers: Record<string, string> = {}) =>
  fetch(new URL(path, server.url), { headers })

/** Fails where the connection breaks, whether that is before or after the head has arrived. */
const getWhole = async (server: KeeperServer, path: string) => (await get(server, path)).arrayBuffer()

describe('content that was uploaded', () => {
  test('is kept, is proved to be, and outlives the one who sent it', async () => {
    await using server = await createKeeperServer()
    expect(await upload(server)).toMatchObject({ root: root.toString() })
    await proveKept({ keeperUrl: server.url, root, bytes: program }, signal)
    expect(await server.keeper.has(root, signal)).toBe(true)
    expect(server.keeper.pins).toMatchObject([{ owner: owner.address }])
    expect(await readdir(join(server.dir, 'keeper', 'staging'))).toEqual([])
  })

  test('is given out block by block and as a CAR, for caches and not for browsers', async () => {
    await using server = await createKeeperServer()
    await upload(server)
    const leaf = blocks[0]!
    const raw = await get(server, `/ipfs/${leaf.cid}?format=raw`)
    expect(Buffer.compare(new Uint8Array(await raw.arrayBuffer()), leaf.bytes)).toBe(0)
    expect(Object.fromEntries(raw.headers)).toMatchObject({
      'content-type': 'application/vnd.ipld.raw',
      'content-disposition': `attachment; filename="${leaf.cid}.bin"`,
      'cache-control': 'public, max-age=29030400, immutable',
      'x-content-type-options': 'nosniff',
      'access-control-allow-origin': '*',
      etag: `"${leaf.cid}.raw"`,
    })
    const car = await get(server, `/ipfs/${root}`, { accept: `${carMediaType}; version=1` })
    expect(car.headers.get('content-type')).toBe(`${carMediaType}; version=1; order=dfs; dups=n`)
    const rootFirst = [blocks.at(-1)!, ...blocks.slice(0, -1)]
    expect(Buffer.compare(new Uint8Array(await car.arrayBuffer()), encodeCar(root, rootFirst))).toBe(0)
  })

  test('is not sent to a client that has it, nor as a body to HEAD', async () => {
    await using server = await createKeeperServer()
    await upload(server)
    for (const format of ['raw', 'car']) {
      const path = `/ipfs/${root}?format=${format}`
      const head = await fetch(new URL(path, server.url), { method: 'HEAD' })
      expect([head.status, await head.text()]).toEqual([200, ''])
      const etag = head.headers.get('etag')!
      expect((await get(server, path, { 'if-none-match': `"other", ${etag}` })).status).toBe(304)
      expect((await get(server, path, { 'if-none-match': '"other"' })).status).toBe(200)
    }
  })
})

describe('what a keeper does not give out', () => {
  test.each<[string, string, number, string, Record<string, string>]>([
    ['no format', `/ipfs/${root}`, 400, 'bad_request', {}],
    ['HTML', `/ipfs/${root}`, 400, 'bad_request', { accept: 'text/html' }],
    ['an unknown format', `/ipfs/${root}?format=tar`, 406, 'format_not_supported', {}],
    ['what is no CID', '/ipfs/hello?format=raw', 400, 'cid_malformed', {}],
    ['an identity CID', '/ipfs/bafkqabtimvwgy3y?format=raw', 400, 'cid_malformed', {}],
    ['what it does not have', `/ipfs/${root}?format=raw`, 404, 'cid_not_found', {}],
    [
      'what is not cached',
      `/ipfs/${root}?format=raw`,
      412,
      'cid_not_cached',
      { 'cache-control': 'only-if-cached' },
    ],
    ['a path', `/ipfs/${root}/index.html?format=raw`, 400, 'bad_request', {}],
    ['half a CAR', `/ipfs/${root}?format=car&entity-bytes=0:5`, 400, 'bad_request', {}],
    ['another CAR', `/ipfs/${root}?format=car&car-version=2`, 400, 'bad_request', {}],
  ])('%s', async (_what, path, status, code, headers) => {
    await using server = await createKeeperServer()
    const response = await get(server, path, headers)
    expect([response.status, ((await response.json()) as { code: string }).code]).toEqual([status, code])
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    expect(response.headers.get('cache-control')).toBe('no-store')
  })

  test('and it says so in the same way as part of another server', async () => {
    await using server = await createKeeperServer()
    const app = new Hono().route('/', server.keeper.routes())
    const response = await app.request('/ipfs/hello?format=raw')
    expect([response.status, await response.json()]).toMatchObject([400, { code: 'cid_malformed' }])
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
  })

  test('another method', async () => {
    await using server = await createKeeperServer()
    for (const method of ['PUT', 'DELETE', 'PATCH']) {
      const response = await fetch(new URL(`/ipfs/${root}`, server.url), { method })
      expect(response.status).toBe(405)
    }
  })

  test('denied content, even below a root that is not denied', async () => {
    const denied = new Set<string>()
    await using server = await createKeeperServer({ isDenied: (cid) => denied.has(cid.toString()) })
    await upload(server)
    denied.add(blocks[0]!.cid.toString())
    expect((await get(server, `/ipfs/${blocks[0]!.cid}?format=raw`)).status).toBe(410)
    await expect(getWhole(server, `/ipfs/${root}?format=car`)).rejects.toThrow()
    expect(server.log.lines.map(({ event }) => event)).toContain('car_broken_off')
  })

  test('bytes that have rotten on disk: an error before the head, a broken connection after it', async () => {
    await using server = await createKeeperServer()
    await upload(server)
    const leaf = blocks[1]!.cid
    await corrupt(server, leaf)
    const raw = await get(server, `/ipfs/${leaf}?format=raw`)
    expect([raw.status, await raw.json()]).toMatchObject([502, { code: 'cid_mismatch' }])
    await expect(getWhole(server, `/ipfs/${root}?format=car`)).rejects.toThrow()
    expect(server.log.lines.map(({ event }) => event)).toContain('car_broken_off')
    expect(await server.keeper.has(root, signal)).toBe(false)

    await corrupt(server, root)
    expect((await get(server, `/ipfs/${root}?format=car`)).status).toBe(502)
  })

  test('and nothing of the error stands in the broken CAR', async () => {
    await using server = await createKeeperServer()
    await upload(server)
    await corrupt(server, blocks[0]!.cid)
    const socket = connect(Number(server.url.port), '127.0.0.1')
    socket.write(`GET /ipfs/${root}?format=car HTTP/1.1\r\nHost: ${server.url.host}\r\n\r\n`)
    const received = Buffer.concat(await socket.toArray())
    expect(received.includes('have another hash')).toBe(false)
    expect(received.subarray(-5).toString()).not.toBe('0\r\n\r\n')
  })

  test('and a repaired block is given out again', async () => {
    await using server = await createKeeperServer()
    await upload(server)
    await corrupt(server, blocks[1]!.cid)
    await upload(server)
    await proveKept({ keeperUrl: server.url, root, bytes: program }, signal)
  })
})

describe('an upload is refused by its head', () => {
  const car = encodeCar(root, blocks)
  const nowSeconds = () => Math.floor(Date.now() / 1000)

  /** Sends a head with a body that never comes: whoever answers did not wait for it. */
  async function postHead(server: KeeperServer, headers: Record<string, string>, of: CID | string = root) {
    const request = httpRequest(new URL(`/ipfs?root=${of}`, server.url), {
      method: 'POST',
      headers: { 'content-type': carMediaType, 'content-length': String(car.byteLength), ...headers },
    })
    request.on('error', () => undefined)
    request.flushHeaders()
    const [status, body] = await new Promise<[number, string]>((resolve) => {
      request.on('response', (response) => {
        let text = ''
        response.on('data', (chunk) => {
          text += chunk
        })
        response.on('end', () => resolve([response.statusCode!, text]))
      })
    })
    request.destroy()
    expect(await listBlocks(server)).toEqual([])
    return [status, (JSON.parse(body) as { code: string }).code]
  }

  async function sign(server: KeeperServer, changes: Partial<Upload> = {}, by = owner) {
    const honest: Upload = {
      owner: by.address,
      root: root.toString(),
      carBytes: car.byteLength,
      carDigest: toHex(sha256(car)),
      keeper: server.url.origin,
      validBefore: nowSeconds() + 200,
      nonce: toHex(randomBytes(32)),
    }
    return signUpload({ ...honest, ...changes }, by, market)
  }

  test('without a signature', async () => {
    await using server = await createKeeperServer()
    expect(await postHead(server, {})).toEqual([403, 'upload_refused'])
    expect(await postHead(server, { authorization: 'Bearer kp1.x.y' })).toEqual([403, 'upload_refused'])
  })

  test('with an authorisation that is none', async () => {
    await using server = await createKeeperServer()
    const good = await sign(server)
    for (const bad of ['', '.', 'a.b', `${'A'.repeat(3000)}.b`, `${good.split(' ')[1]}.x`, '!!!!.????']) {
      const answer = await postHead(server, { authorization: `Khachapuri-Upload ${bad}` })
      expect(answer).toEqual([400, 'upload_invalid'])
    }
  })

  test('that another key signed, for another market, or that was altered', async () => {
    await using server = await createKeeperServer()
    const forged = await sign(server, { owner: owner.address }, createOwner())
    expect(await postHead(server, { authorization: forged })).toEqual([403, 'signature_invalid'])

    const [scheme, token = ''] = (await sign(server)).split(' ')
    const [payload = '', signature] = token.split('.')
    const altered = Buffer.from(payload, 'base64url')
      .toString()
      .replace(/"validBefore":\d/, '"validBefore":9')
    const authorization = `${scheme} ${Buffer.from(altered).toString('base64url')}.${signature}`
    expect(await postHead(server, { authorization })).toEqual([403, 'signature_invalid'])
  })

  test.each<[string, Partial<Upload>]>([
    ['for another root', { root: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e' }],
    ['for another keeper', { keeper: 'https://other.example' }],
    ['too late', { validBefore: Math.floor(Date.now() / 1000) - 1 }],
    ['for too long', { validBefore: Math.floor(Date.now() / 1000) + 10_000 }],
  ])('that was signed %s', async (_what, changes) => {
    await using server = await createKeeperServer()
    expect(await postHead(server, { authorization: await sign(server, changes) })).toEqual([
      403,
      'upload_refused',
    ])
  })

  test('for a root that is none, of another type, or of another size than was signed', async () => {
    await using server = await createKeeperServer()
    const authorization = await sign(server)
    expect(await postHead(server, { authorization }, 'hello')).toEqual([400, 'cid_malformed'])
    const html = { authorization, 'content-type': 'text/html' }
    expect(await postHead(server, html)).toEqual([400, 'upload_invalid'])
    const longer = { authorization, 'content-length': '999999' }
    expect(await postHead(server, longer)).toEqual([400, 'upload_invalid'])
    const huge = await sign(server, { carBytes: limits.carBytesMax + 1 })
    expect(await postHead(server, { authorization: huge })).toEqual([400, 'upload_invalid'])
  })

  test('by an owner who may not, or for content that is denied', async () => {
    await using closed = await createKeeperServer({ mayUpload: async () => false })
    expect(await postHead(closed, { authorization: await sign(closed) })).toEqual([403, 'upload_refused'])
    await using denying = await createKeeperServer({ isDenied: () => true })
    expect(await postHead(denying, { authorization: await sign(denying) })).toEqual([403, 'upload_refused'])
  })

  test('above the quota of its owner or of the keeper', async () => {
    await using small = await createKeeperServer({ ownerBytesMax: 1 * MiB })
    expect(await postHead(small, { authorization: await sign(small) })).toEqual([507, 'keeper_full'])
    await using full = await createKeeperServer({ totalBytesMax: 1 * MiB })
    expect(await postHead(full, { authorization: await sign(full) })).toEqual([507, 'keeper_full'])
  })

  test('while the same owner runs as many as are allowed', async () => {
    await using server = await createKeeperServer()
    const hanging = await Promise.all(
      Array.from({ length: limits.uploadsPerOwnerMax }, async () => {
        const request = httpRequest(new URL(`/ipfs?root=${root}`, server.url), {
          method: 'POST',
          headers: {
            'content-type': carMediaType,
            authorization: await sign(server),
            expect: '100-continue',
          },
        })
        request.on('error', () => undefined)
        request.write(car.subarray(0, 100))
        return request
      }),
    )
    const stagings = join(server.dir, 'keeper', 'staging')
    while ((await readdir(stagings)).length < limits.uploadsPerOwnerMax) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await postHead(server, { authorization: await sign(server) })).toEqual([429, 'too_many_requests'])
    for (const request of hanging) request.destroy()
    while ((await readdir(stagings)).length > 0) await new Promise((resolve) => setImmediate(resolve))
    await upload(server)
  })
})

describe('an upload is refused by its body, and no block stays', () => {
  async function post(server: KeeperServer, body: Uint8Array, changes: Partial<Upload> = {}) {
    const signed: Upload = {
      owner: owner.address,
      root: root.toString(),
      carBytes: body.byteLength,
      carDigest: toHex(sha256(body)),
      keeper: server.url.origin,
      validBefore: Math.floor(Date.now() / 1000) + 100,
      nonce: toHex(randomBytes(32)),
      ...changes,
    }
    const authorization = await signUpload(signed, owner, market)
    const send = async () => {
      const response = await fetch(new URL(`/ipfs?root=${root}`, server.url), {
        method: 'POST',
        headers: { authorization, 'content-type': carMediaType },
        body: ReadableStream.from([Buffer.from(body)]),
        duplex: 'half',
      })
      return [response.status, ((await response.json()) as { code: string }).code]
    }
    return { send }
  }
  const car = encodeCar(root, blocks)
  const flipped = Uint8Array.from(car)
  flipped[car.byteLength - 70_000]! ^= 1

  test.each<[string, Uint8Array, Partial<Upload>]>([
    ['a flipped bit', flipped, {}],
    ['a missing end', car.subarray(0, 1_500_000), {}],
    ['a missing block', encodeCar(root, blocks.slice(1)), {}],
    ['no blocks', encodeCar(root, []), {}],
    ['another content than was signed', car, { carDigest: `0x${'11'.repeat(32)}` }],
    ['more than was signed', car, { carBytes: car.byteLength - 1 }],
    ['less than was signed', car, { carBytes: car.byteLength + 1 }],
  ])('%s', async (_what, body, changes) => {
    await using server = await createKeeperServer()
    const { send } = await post(server, body, changes)
    expect(await send()).toEqual([400, 'upload_invalid'])
    expect(await listBlocks(server)).toEqual([])
    expect(server.keeper.pins).toEqual([])
    expect(await readdir(join(server.dir, 'keeper', 'staging'))).toEqual([])
  })

  test('the same authorisation twice', async () => {
    await using server = await createKeeperServer()
    const { send } = await post(server, car)
    expect(await send()).toEqual([201, undefined])
    expect(await send()).toEqual([403, 'upload_refused'])
  })

  test('a quota that only the whole graph exceeds, by blocks that were here already', async () => {
    await using server = await createKeeperServer({ ownerBytesMax: 1 * MiB })
    await server.keeper.put(program, { owner: 'operator', expiresAtMs: Date.now() + 60_000 }, signal)
    const { send } = await post(server, encodeCar(root, []))
    expect(await send()).toEqual([507, 'keeper_full'])
  })
})

describe('space', () => {
  test('a second upload of the same content costs nothing more, and another owner pays for it, too', async () => {
    await using server = await createKeeperServer({ ownerBytesMax: 3 * MiB, totalBytesMax: 5 * MiB })
    await upload(server)
    await upload(server)
    expect(server.keeper.pins).toHaveLength(1)
    await upload(server, imported, createOwner())
    expect(server.keeper.pins).toHaveLength(2)
    await expect(upload(server, imported, createOwner())).rejects.toMatchObject({ code: 'keeper_full' })
    const more = await importFile(new Uint8Array(1 * MiB))
    await expect(upload(server, more)).rejects.toMatchObject({ code: 'keeper_full' })
  })

  test('content is collected a day after its last pin has expired, and what others pin stays', async () => {
    const clock = createTestClock(Date.now())
    await using server = await createKeeperServer({ clock, pinAgeMs: 1000 })
    await upload(server)
    const shared = await importFile(program.subarray(0, 1 * MiB))
    const keepUntil = clock.nowMs() + 10 * limits.keeperGraceMs
    await server.keeper.put(
      program.subarray(0, 1 * MiB),
      { owner: 'operator', expiresAtMs: keepUntil },
      signal,
    )
    const all = await listBlocks(server)

    await clock.advance(2000)
    expect(await server.keeper.collectGarbage(signal)).toBe(0)
    expect(await listBlocks(server)).toEqual(all)
    await clock.advance(limits.keeperGraceMs)
    expect(await server.keeper.collectGarbage(signal)).toBe(all.length - 1)
    expect(await server.keeper.has(shared.cid, signal)).toBe(true)
    expect(await server.keeper.has(root, signal)).toBe(false)
  })

  test('content that is pinned again in its last hour stays', async () => {
    const clock = createTestClock(Date.now())
    await using server = await createKeeperServer({ clock, pinAgeMs: 1000 })
    await upload(server)
    await clock.advance(2000)
    await server.keeper.collectGarbage(signal)
    await clock.advance(limits.keeperGraceMs)
    await server.keeper.pin(root, { owner: 'operator', expiresAtMs: clock.nowMs() + 60_000 }, signal)
    expect(await server.keeper.collectGarbage(signal)).toBe(0)
    expect(await server.keeper.has(root, signal)).toBe(true)
    server.keeper.unpin(root, 'operator')
    expect(server.keeper.pins).toEqual([])
  })

  test('pins of two owners on one block do not undo each other', async () => {
    const clock = createTestClock(Date.now())
    await using server = await createKeeperServer({ clock })
    const terms = { expiresAtMs: clock.nowMs() + 100 * limits.keeperGraceMs }
    const tiny = utf8.encode('shared')
    const cid = await server.keeper.put(tiny, { owner: 'a', ...terms }, signal)
    await server.keeper.put(tiny, { owner: 'b', ...terms }, signal)
    server.keeper.unpin(cid, 'a')
    await server.keeper.put(tiny, { owner: 'a', ...terms }, signal)
    server.keeper.unpin(cid, 'b')
    await server.keeper.collectGarbage(signal)
    await clock.advance(2 * limits.keeperGraceMs)
    await server.keeper.collectGarbage(signal)
    expect(await server.keeper.has(cid, signal)).toBe(true)
  })

  test('a pin on content that is not whole is refused', async () => {
    await using server = await createKeeperServer()
    const terms = { owner: 'operator', expiresAtMs: Date.now() + 1000 }
    await expect(server.keeper.pin(root, terms, signal)).rejects.toMatchObject({ code: 'cid_not_found' })
    expect(server.keeper.pins).toEqual([])
  })

  test('many writers of one block leave one whole block', async () => {
    await using server = await createKeeperServer()
    const block = await importFile(randomBytes(700 * KiB))
    const [only] = block.blocks
    await Promise.all(Array.from({ length: 20 }, () => server.blockstore.put(block.cid, only!.bytes)))
    expect(await server.keeper.has(block.cid, signal)).toBe(true)
  })
})
