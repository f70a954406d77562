import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import type { Address, Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import type { CallInput } from '../../protocol/call-record.ts'
import { limits } from '../../protocol/limits.ts'

export interface KeptInput {
  readonly input: CallInput
  /** Who may see it: who paid for the call, and who deployed the program. */
  readonly readers: readonly Address[]
}

/**
 * What recorded calls were asked with, for as long as their deployments say. It is no ledger: it is never synced, a full disk
 * loses records and stops no call, and the oldest go when there are too many. Whoever wants to be sure keeps its own request.
 */
export interface CallRecords extends AsyncDisposable {
  /** It can be read at once. */
  add(callId: Hex, record: KeptInput & { readonly seconds: number }): void
  /** @returns undefined where there is none, or none any more */
  read(callId: Hex): KeptInput | undefined
}

export interface CallRecordsOptions {
  readonly dir: string
  /** Of all that is kept. */
  readonly bytesMax?: number
}

const schema = `
  CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY,
    call TEXT NOT NULL UNIQUE,
    until_ms INTEGER NOT NULL,
    method TEXT NOT NULL,
    target TEXT NOT NULL,
    body BLOB NOT NULL,
    readers TEXT NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS records_by_end ON records (until_ms);
`
/** Of a row beside its body and target, roughly, with its place in two indexes. */
const rowBytes = 512
const size = `length(body) + length(target) + ${rowBytes}`
const droppedAtOnce = 16

const sumOf = (rows: readonly (Readonly<Record<string, unknown>> | undefined)[]): number =>
  rows.reduce((sum, row) => sum + Number(row?.['bytes']), 0)

export function openCallRecords(
  { clock, log }: { clock: Clock; log: Log },
  { dir, bytesMax = limits.callRecordsBytesMax }: CallRecordsOptions,
): CallRecords {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const db = new DatabaseSync(join(dir, 'call-records.sqlite'))
  // What callers sent is gone from the disk, too, when its time is over.
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA auto_vacuum = INCREMENTAL;')
  db.exec('PRAGMA secure_delete = ON')
  db.exec(schema)
  const insert = db.prepare(
    'INSERT INTO records (call, until_ms, method, target, body, readers) VALUES (?, ?, ?, ?, ?, ?)',
  )
  const find = db.prepare('SELECT method, target, body, readers FROM records WHERE call = ? AND until_ms > ?')
  const dropEnded = db.prepare(
    `DELETE FROM records WHERE id IN (SELECT id FROM records WHERE until_ms <= ? LIMIT ${droppedAtOnce}) RETURNING ${size} AS bytes`,
  )
  const dropOldest = db.prepare(
    `DELETE FROM records WHERE id = (SELECT min(id) FROM records) RETURNING ${size} AS bytes`,
  )
  let bytesKept = sumOf([db.prepare(`SELECT coalesce(sum(${size}), 0) AS bytes FROM records`).get()])

  /** A few at a time: calls that are not recorded go through this thread, too. */
  async function prune(signal: AbortSignal): Promise<void> {
    for (let dropped = droppedAtOnce; dropped === droppedAtOnce; ) {
      await setImmediate(undefined, { signal })
      const rows = dropEnded.all(clock.nowMs())
      dropped = rows.length
      bytesKept -= sumOf(rows)
    }
    db.exec('PRAGMA incremental_vacuum(1024)')
    // Until then it is in the log as it was.
    db.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  }

  function makeRoom(): void {
    while (bytesKept > bytesMax) {
      const rows = dropOldest.all()
      if (rows.length === 0) return
      bytesKept -= sumOf(rows)
    }
  }

  const pruning = repeat(
    { clock, onError: (error) => log.warn('call_records_failed', { error: String(error) }) },
    limits.callRecordsPruneIntervalMs,
    prune,
  )

  return {
    add(callId, { input: { method, target, body }, readers, seconds }) {
      try {
        insert.run(callId, clock.nowMs() + seconds * 1000, method, target, body, JSON.stringify(readers))
        bytesKept += body.byteLength + target.length + rowBytes
        makeRoom()
      } catch (error) {
        log.warn('call_records_failed', { call: callId, error: String(error) })
      }
    },
    read(callId) {
      const row = find.get(callId, clock.nowMs())
      if (!row) return undefined
      const { method, target, body, readers } = row
      assert(
        typeof method === 'string' && typeof target === 'string' && body instanceof Uint8Array,
        'the table is strict',
      )
      return { input: { method, target, body }, readers: JSON.parse(String(readers)) as Address[] }
    },
    async [Symbol.asyncDispose]() {
      await pruning[Symbol.asyncDispose]()
      db.close()
    },
  }
}
