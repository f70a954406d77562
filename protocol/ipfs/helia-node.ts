import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PrivateKey } from '@libp2p/interface'
import type { Blockstore } from 'interface-blockstore'
import { readBounded } from '../base/bytes.ts'
import type { Log } from '../base/log.ts'
import { raceSignal } from '../base/signal.ts'
import { limits } from '../limits.ts'
import { blockMismatch, blockNotFound, type ReadBlock } from './block.ts'
import { isBlockOf } from './cid.ts'

/** A peer of the IPFS network that gives out a store's blocks by bitswap, and fetches what it does not have. */
export interface HeliaNode extends AsyncDisposable {
  readonly peerId: string
  /** Where other peers reach it, such as `/ip4/127.0.0.1/tcp/4001/p2p/12D3Koo…`. */
  readonly addresses: readonly string[]
  /** Connects to a peer, which can be asked for blocks from then on. */
  dial(address: string, signal: AbortSignal): Promise<void>
  /** Asks the connected peers for one block. Without a deadline in the signal a missing block waits for ever. */
  readonly readBlock: ReadBlock
}

export interface HeliaNodeOptions {
  /** Holds the key by which other peers know this one. */
  readonly dir: string
  /** Addresses to listen on; `/ip4/127.0.0.1/tcp/0` if absent, so nothing leaves the machine. */
  readonly listen?: readonly string[]
  /** Peers to connect to at the start; the first one that fails makes the start fail. */
  readonly peers?: readonly string[]
}

/**
 * Starts a node in its quiet form: TCP only, no bootstrap, no discovery, no public routers. It finds blocks at the peers
 * that it was told to dial, and at those who dialled it.
 *
 * Importing Helia takes most of a second and 100 MB, so it is done here and not by whoever imports this file.
 */
export async function createHeliaNode(
  { blockstore, log }: { blockstore: Blockstore; log: Log },
  { dir, listen = ['/ip4/127.0.0.1/tcp/0'], peers = [] }: HeliaNodeOptions,
  signal: AbortSignal,
): Promise<HeliaNode> {
  await using starting = new AsyncDisposableStack()
  const { helia, toAddress } = await startHelia({ blockstore, privateKey: await loadKey(dir), listen })
  starting.defer(async () => void (await helia.stop()))
  const dial = async (address: string, dialSignal: AbortSignal): Promise<void> => {
    await raceSignal(helia.libp2p.dial(toAddress(address), { signal: dialSignal }), dialSignal)
  }
  for (const peer of peers) await dial(peer, signal)
  signal.throwIfAborted()
  const peerId = helia.libp2p.peerId.toString()
  log.info('helia_started', { peerId, addresses: helia.libp2p.getMultiaddrs().map(String) })
  const parts = starting.move()
  return {
    peerId,
    get addresses() {
      return helia.libp2p.getMultiaddrs().map(String)
    },
    dial,
    readBlock: readFrom(helia.blockstore),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** What Helia gives is hashed again, and its waiting ends with the signal even where Helia's does not. */
function readFrom(blockstore: Pick<Blockstore, 'get'>): ReadBlock {
  return async (cid, signal) => {
    const collect = async () => readBounded(toAsync(blockstore.get(cid, { signal })), limits.blockBytesMax)
    let bytes: Uint8Array | undefined
    try {
      bytes = await raceSignal(collect(), signal)
    } catch (cause) {
      signal.throwIfAborted()
      throw blockNotFound(cid, cause)
    }
    if (!bytes || !isBlockOf(cid, bytes)) throw blockMismatch(cid, 'A peer')
    return bytes
  }
}

async function* toAsync(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
  yield* chunks
}

async function startHelia(options: {
  blockstore: Blockstore
  privateKey: PrivateKey
  listen: readonly string[]
}) {
  const [{ createHeliaLight }, { withLibp2pLight }, { withBitswap }, { multiaddr }, parts] =
    await Promise.all([
      import('helia'),
      import('@helia/libp2p'),
      import('@helia/bitswap'),
      import('@multiformats/multiaddr'),
      importTransport(),
    ])
  const { blockstore, privateKey, listen } = options
  const libp2p = { privateKey, addresses: { listen: [...listen] }, ...parts }
  const helia = withBitswap(withLibp2pLight(createHeliaLight({ blockstore }), libp2p))
  await helia.start()
  return { helia, toAddress: multiaddr }
}

async function importTransport() {
  const [{ tcp }, { noise }, { yamux }, { identify }] = await Promise.all([
    import('@libp2p/tcp'),
    import('@libp2p/noise'),
    import('@libp2p/yamux'),
    import('@libp2p/identify'),
  ])
  return {
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: { identify: identify() },
  }
}

/** The key stays the same over restarts, and with it the peer's address. */
async function loadKey(dir: string): Promise<PrivateKey> {
  const { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } = await import(
    '@libp2p/crypto/keys'
  )
  const path = join(dir, 'peer.key')
  try {
    return privateKeyFromProtobuf(await readFile(path))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
  }
  const key = await generateKeyPair('Ed25519')
  await mkdir(dir, { recursive: true })
  await using file = await open(path, 'wx', 0o600)
  await file.writeFile(privateKeyToProtobuf(key))
  await file.sync()
  return key
}
