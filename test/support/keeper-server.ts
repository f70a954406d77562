import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getRequestListener } from '@hono/node-server'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { createKeeper, type KeeperDeps, type KeeperOptions } from '../../protocol/ipfs/keeper.ts'
import { openBlockstore } from '../../protocol/ipfs/open-blockstore.ts'
import type { Market } from '../../protocol/typed-data.ts'

export const market: Market = { chainId: 31_337, escrow: '0x5FbDB2315678afecb367f032d93F642f64180aa3' }

/** What `uploadCar` needs beside the content. */
export const uploadDeps = { clock: systemClock, createNonce: () => new Uint8Array(randomBytes(32)) }

export const createOwner = () => privateKeyToAccount(generatePrivateKey())

export type KeeperServerOptions = Partial<Pick<KeeperDeps, 'mayUpload' | 'isDenied'>> &
  Partial<Pick<KeeperOptions, 'ownerBytesMax' | 'totalBytesMax' | 'pinAgeMs'>> & { readonly clock?: Clock }

/** A keeper with its own directory, on a socket of its own. */
export async function createKeeperServer({ clock = systemClock, ...options }: KeeperServerOptions = {}) {
  await using starting = new AsyncDisposableStack()
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-keeper-'))
  starting.defer(() => rm(dir, { recursive: true }))
  let listener: RequestListener = () => undefined
  const server = starting.use(await createHttpServer((request, response) => listener(request, response)))
  const log = createTestLog()
  const blockstore = await openBlockstore(join(dir, 'blocks'))
  const deps = { blockstore, clock, log, ...options }
  const keeper = starting.use(
    await createKeeper(deps, {
      dir: join(dir, 'keeper'),
      audience: () => server.url.origin,
      market,
      ...options,
    }),
  )
  listener = getRequestListener(keeper.routes().fetch)
  const parts = starting.move()
  return { dir, log, blockstore, keeper, url: server.url, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}

/** A server that answers whatever a test wants. */
export async function createHttpServer(listener: RequestListener) {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: new URL(`http://127.0.0.1:${port}`),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
