import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { base64url } from '../base/bytes.ts'
import { type CID, parseContentCid } from './cid.ts'
import type { Upload } from './upload.ts'

export interface Pin {
  readonly root: CID
  /** Who is charged for the space: an account's address, or a word for the operator. */
  readonly owner: string
  /** Of all different blocks under the root. */
  readonly bytes: number
  readonly expiresAtMs: number
}

export interface PinKey {
  readonly root: string
  readonly owner: string
}

/** What the keeper remembers beside the blocks. Everything here is synchronous, so nothing comes between check and write. */
export interface KeeperPins extends Disposable {
  /** Adds a pin, or replaces the size of an older one; it never shortens it. */
  add(pin: Pin): void
  remove(root: CID, owner: string): void
  list(): readonly Pin[]
  deleteExpired(nowMs: number): void
  /** Bytes pinned by one owner, or by all, without one pin that is about to be replaced. */
  sumBytes(of: { owner?: string; except: PinKey }): number
  /** @returns false where this upload was here before. */
  useNonce(upload: Upload, nowSeconds: number): boolean
  /** Remembers since when blocks are under no pin, and forgets it for all others. */
  noteUnpinned(cids: Iterable<CID>, nowMs: number): void
  /** Blocks that have been under no pin since `beforeMs`. */
  listUnpinned(beforeMs: number): readonly Uint8Array[]
  /** A block is wanted again. @returns whether it was noted as under no pin */
  forgetUnpinned(multihash: Uint8Array): boolean
}

export function openKeeperPins(dir: string): KeeperPins {
  mkdirSync(dir, { recursive: true })
  const database = new DatabaseSync(join(dir, 'keeper.db'))
  database.exec(schema)
  const sql = prepareAll(database)
  return {
    add: ({ root, owner, bytes, expiresAtMs }) =>
      void sql.addPin.run(root.toString(), owner, bytes, expiresAtMs),
    remove: (root, owner) => void sql.removePin.run(root.toString(), owner),
    list: () => sql.listPins.all().map(parsePin),
    deleteExpired: (nowMs) => void sql.deleteExpired.run(nowMs),
    sumBytes: ({ owner = null, except }) =>
      Number(sql.sumBytes.get(owner, owner, except.root, except.owner)?.['bytes'] ?? 0),
    useNonce({ owner, nonce, validBefore }, nowSeconds) {
      // An expired upload is refused by its date: its nonce need not be kept.
      sql.deleteNonces.run(nowSeconds)
      return sql.addNonce.run(`${owner}:${nonce}`, validBefore).changes === 1
    },
    noteUnpinned(cids, nowMs) {
      const noted = new Set(sql.listUnpinned.all(nowMs).map((row) => String(row['multihash'])))
      const unpinned = new Set([...cids].map((cid) => base64url.encode(cid.multihash.bytes)))
      database.exec('BEGIN')
      for (const multihash of noted.difference(unpinned)) sql.forgetUnpinned.run(multihash)
      for (const multihash of unpinned.difference(noted)) sql.noteUnpinned.run(multihash, nowMs)
      database.exec('COMMIT')
    },
    listUnpinned: (beforeMs) =>
      sql.listUnpinned
        .all(beforeMs)
        .map((row) => new Uint8Array(Buffer.from(String(row['multihash']), 'base64url'))),
    forgetUnpinned: (multihash) => sql.forgetUnpinned.run(base64url.encode(multihash)).changes === 1,
    [Symbol.dispose]: () => database.close(),
  }
}

const schema = `
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS pins (
    root TEXT NOT NULL, owner TEXT NOT NULL, bytes INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL,
    PRIMARY KEY (root, owner)
  ) STRICT;
  CREATE TABLE IF NOT EXISTS upload_nonces (nonce TEXT PRIMARY KEY, valid_before INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS unpinned (multihash TEXT PRIMARY KEY, since_ms INTEGER NOT NULL) STRICT;
`

function prepareAll(database: DatabaseSync) {
  return {
    addPin: database.prepare(`
      INSERT INTO pins VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET bytes = excluded.bytes, expires_at_ms = max(expires_at_ms, excluded.expires_at_ms)`),
    removePin: database.prepare('DELETE FROM pins WHERE root = ? AND owner = ?'),
    listPins: database.prepare('SELECT * FROM pins ORDER BY root, owner'),
    deleteExpired: database.prepare('DELETE FROM pins WHERE expires_at_ms <= ?'),
    sumBytes: database.prepare(
      'SELECT sum(bytes) AS bytes FROM pins WHERE (? IS NULL OR owner = ?) AND NOT (root = ? AND owner = ?)',
    ),
    deleteNonces: database.prepare('DELETE FROM upload_nonces WHERE valid_before <= ?'),
    addNonce: database.prepare('INSERT OR IGNORE INTO upload_nonces VALUES (?, ?)'),
    noteUnpinned: database.prepare('INSERT OR IGNORE INTO unpinned VALUES (?, ?)'),
    listUnpinned: database.prepare('SELECT multihash FROM unpinned WHERE since_ms <= ?'),
    forgetUnpinned: database.prepare('DELETE FROM unpinned WHERE multihash = ?'),
  }
}

function parsePin(row: Record<string, unknown>): Pin {
  return {
    root: parseContentCid(row['root']),
    owner: String(row['owner']),
    bytes: Number(row['bytes']),
    expiresAtMs: Number(row['expires_at_ms']),
  }
}
