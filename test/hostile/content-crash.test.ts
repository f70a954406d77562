import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { MiB, sha256, toHex } from '../../protocol/base/bytes.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { readVerifiedBlock } from '../../protocol/ipfs/block.ts'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { createKeeper } from '../../protocol/ipfs/keeper.ts'
import { carMediaType } from '../../protocol/ipfs/media-types.ts'
import { openBlockstore } from '../../protocol/ipfs/open-blockstore.ts'
import { signUpload } from '../../protocol/ipfs/upload.ts'
import { encodeCar } from '../../protocol/ipfs/write-car.ts'
import { createOwner, market } from '../support/keeper-server.ts'

const { signal } = new AbortController()
const owner = createOwner()

async function startKeeper(dir: string): Promise<{ process: ChildProcess; origin: string }> {
  const script = join(import.meta.dirname, '..', 'support', 'keeper-process.ts')
  const child = spawn(process.execPath, [script, dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = (await once(child.stdout!, 'data')) as [Buffer]
  return { process: child, origin: line.toString().trim() }
}

/** Sends the first `bytes` of a signed upload, and resolves when they have left, or with the answer. */
async function send(
  origin: string,
  car: Uint8Array,
  root: string,
  bytes: number,
): Promise<number | undefined> {
  const authorization = await signUpload(
    {
      owner: owner.address,
      root,
      carBytes: car.byteLength,
      carDigest: toHex(sha256(car)),
      keeper: origin,
      validBefore: Math.floor(Date.now() / 1000) + 100,
      nonce: toHex(randomBytes(32)),
    },
    owner,
    market,
  )
  const upload = request(new URL(`/ipfs?root=${root}`, origin), {
    method: 'POST',
    headers: { authorization, 'content-type': carMediaType, 'content-length': String(car.byteLength) },
  })
  upload.on('error', () => undefined)
  if (bytes < car.byteLength) {
    await new Promise<void>((resolve) => upload.write(car.subarray(0, bytes), () => resolve()))
    return undefined
  }
  upload.end(car)
  const [response] = await once(upload, 'response')
  return response.statusCode
}

test('a keeper that is killed at any point of an upload keeps what it confirmed, and nothing else', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-crash-'))
  await using _cleanup = { [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) }
  const confirmed: string[] = []
  for (const share of [0, 0.3, 0.9, 1]) {
    const { cid, blocks } = await importFile(new Uint8Array(randomBytes(3 * MiB)))
    const car = encodeCar(cid, blocks)
    const keeper = await startKeeper(dir)
    const status = await send(keeper.origin, car, cid.toString(), Math.floor(car.byteLength * share))
    if (status === 201) confirmed.push(cid.toString())
    keeper.process.kill('SIGKILL')
    await once(keeper.process, 'exit')
  }

  const blockstore = await openBlockstore(join(dir, 'blocks'))
  const deps = { blockstore, clock: systemClock, log: createTestLog() }
  await using keeper = await createKeeper(deps, {
    dir: join(dir, 'keeper'),
    audience: () => 'http://after',
    market,
  })
  expect(confirmed).toHaveLength(1)
  expect(keeper.pins.map(({ root }) => root.toString())).toEqual(confirmed)
  for (const { root } of keeper.pins) expect(await keeper.has(root, signal)).toBe(true)
  expect(await readdir(join(dir, 'keeper', 'staging'))).toEqual([])
  let stored = 0
  for await (const { cid } of blockstore.getAll()) {
    await readVerifiedBlock(blockstore, cid, signal)
    stored += 1
  }
  expect(stored).toBe(4)
})
