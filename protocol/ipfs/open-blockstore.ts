import { FsBlockstore } from 'blockstore-fs'
import type { Blockstore } from 'interface-blockstore'
import { base64url } from '../base/bytes.ts'
import type { CID } from './cid.ts'

/**
 * Opens a directory of blocks. Several parts of one process may share it: writes and deletions of one block take turns,
 * because blockstore-fs writes every block through one temporary name, where two writers would spoil each other's file.
 * It does not sync to disk; whoever reads must hash.
 */
export async function openBlockstore(dir: string): Promise<Blockstore> {
  const store = new FsBlockstore(dir)
  await store.open()
  const inTurn = createTurns()
  const put = store.put.bind(store)
  const get = store.get.bind(store)
  const remove = store.delete.bind(store)
  store.put = (cid, bytes) => inTurn(cid, () => put(cid, bytes))
  store.delete = (cid) => inTurn(cid, () => remove(cid))
  store.get = async function* (cid) {
    await inTurn.idle(cid)
    yield* get(cid)
  }
  return store
}

/** Runs what concerns one block one after the other; different blocks do not wait for each other. */
function createTurns() {
  const running = new Map<string, Promise<unknown>>()
  const keyOf = (cid: CID) => base64url.encode(cid.multihash.bytes)
  const inTurn = <T>(cid: CID, act: () => Promise<T>): Promise<T> => {
    const key = keyOf(cid)
    const acting = (running.get(key) ?? Promise.resolve()).then(act)
    const settled = acting
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        if (running.get(key) === settled) running.delete(key)
      })
    running.set(key, settled)
    return acting
  }
  return Object.assign(inTurn, { idle: async (cid: CID) => void (await running.get(keyOf(cid))) })
}
