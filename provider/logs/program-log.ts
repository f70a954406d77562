import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import type {
  ProgramLogCall,
  ProgramLogEntry,
  ProgramLogEvent,
  ProgramLogOutput,
  ProgramLogPage,
  ProgramLogQuery,
} from '../../protocol/program-log.ts'
import { usdc } from '../../protocol/usdc.ts'

type Fresh<T> = T extends unknown ? Omit<T, 'id' | 'atMs'> : never
/** An entry that has not been given its place yet. */
export type FreshEntry = Fresh<ProgramLogCall | ProgramLogOutput | ProgramLogEvent>

/**
 * What owners read of their deployments. It is no ledger: it is written a moment later and never synced, a full disk or a
 * flood loses entries and stops nothing, and the oldest go when there are too many.
 */
export interface ProgramLog extends Disposable {
  /**
   * @param deployment - The digest in its CID.
   * @param entry - Or what makes it: not asked where there are too many already.
   */
  add(deployment: Hex, entry: FreshEntry | (() => FreshEntry)): void
  /** At most `programLogPageEntriesMax` of the next `programLogLookedAtMax` entries. Those just added are there already. */
  read(deployment: Hex, query: ProgramLogQuery): ProgramLogPage
}

interface Waiting {
  readonly deployment: Hex
  readonly atMs: number
  readonly entry: FreshEntry
}

const schema = `
  CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    deployment TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    status INTEGER,
    entry TEXT NOT NULL
  ) STRICT;
  CREATE INDEX IF NOT EXISTS entries_of ON entries (deployment, id);
  CREATE INDEX IF NOT EXISTS entries_by_age ON entries (at_ms);
`

export function openProgramLog({ clock, log }: { clock: Clock; log: Log }, dir: string): ProgramLog {
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const db = new DatabaseSync(join(dir, 'program-log.sqlite'))
  db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA auto_vacuum = INCREMENTAL;')
  db.exec(schema)
  const insert = db.prepare('INSERT INTO entries (deployment, at_ms, status, entry) VALUES (?, ?, ?, ?)')
  const countOf = db.prepare(
    'SELECT count(*) AS count, coalesce(sum(length(entry)), 0) AS chars FROM entries WHERE deployment = ?',
  )
  const dropOldest = db.prepare(
    'DELETE FROM entries WHERE id IN (SELECT id FROM entries WHERE deployment = ? ORDER BY id LIMIT ?)',
  )
  const dropOld = db.prepare('DELETE FROM entries WHERE at_ms < ?')
  const dropAnyOldest = db.prepare(
    'DELETE FROM entries WHERE id IN (SELECT id FROM entries ORDER BY id LIMIT ?)',
  )
  const countAll = db.prepare(
    'SELECT coalesce(sum(length(entry)), 0) AS chars, count(*) AS count FROM entries',
  )

  const lookAhead = db.prepare(
    `SELECT count(*) AS count, coalesce(max(id), 0) AS last FROM
       (SELECT id FROM entries WHERE deployment = ? AND id > ? ORDER BY id LIMIT ${limits.programLogLookedAtMax})`,
  )

  let waiting: Waiting[] = []
  const closing = new AbortController()
  let isWriting = false
  /** Since the sizes were looked at last. */
  const added = new Map<Hex, number>()
  let addedInAll = 0
  const rates = new Map<Hex, { startMs: number; taken: number; lost: number }>()

  /** A deployment that floods its log loses what is too much, and is told how much. */
  function admits(deployment: Hex): boolean {
    const nowMs = clock.monotonicMs()
    let rate = rates.get(deployment)
    if (!rate || nowMs - rate.startMs >= 1_000) {
      if (rate && rate.lost > 0)
        push(deployment, {
          kind: 'event',
          text: `${rate.lost} entries were left out: too many in one second.`,
        })
      rate = { startMs: nowMs, taken: 0, lost: 0 }
      rates.delete(deployment)
      rates.set(deployment, rate)
      const oldest = rates.size > limits.programLogRatesKeptMax ? rates.keys().next().value : undefined
      if (oldest !== undefined) rates.delete(oldest)
    }
    const isTaken = rate.taken < limits.programLogEntriesPerSecondMax
    if (isTaken) rate.taken += 1
    else rate.lost += 1
    return isTaken
  }

  function push(deployment: Hex, entry: FreshEntry): void {
    if (waiting.length >= limits.programLogWaitingMax) return
    waiting.push({ deployment, atMs: clock.nowMs(), entry })
    if (!isWriting) void writeSoon()
  }

  async function writeSoon(): Promise<void> {
    isWriting = true
    await clock.sleep(limits.programLogDelayMs, closing.signal).catch(() => undefined)
    isWriting = false
    write()
  }

  function write(): void {
    const group = waiting
    waiting = []
    if (group.length === 0 || !db.isOpen) return
    try {
      db.exec('BEGIN')
      for (const { deployment, atMs, entry } of group) {
        const text = toText(entry)
        insert.run(deployment, atMs, entry.kind === 'call' ? entry.status : null, text)
        added.set(deployment, (added.get(deployment) ?? 0) + text.length)
        addedInAll += text.length
      }
      prune()
      db.exec('COMMIT')
    } catch (error) {
      if (db.isTransaction) db.exec('ROLLBACK')
      log.warn('program_log_failed', { lost: group.length, error: String(error) })
    }
  }

  /** Looks at sizes only after as much was added as a look is worth. */
  function prune(): void {
    const { programLogBytesMax: bytesMax, programLogBytesTotalMax: totalMax } = limits
    for (const [deployment, chars] of added) {
      if (chars < bytesMax / 8) continue
      added.delete(deployment)
      const { count, chars: held } = sizesOf(countOf.get(deployment))
      if (held > bytesMax) dropOldest.run(deployment, Math.ceil((count * (held - bytesMax * 0.75)) / held))
    }
    if (addedInAll < totalMax / 64) return
    addedInAll = 0
    added.clear()
    dropOld.run(clock.nowMs() - limits.programLogAgeMsMax)
    const { count, chars: held } = sizesOf(countAll.get())
    if (held > totalMax) dropAnyOldest.run(Math.ceil((count * (held - totalMax * 0.75)) / held))
  }

  return {
    add(deployment, entry) {
      if (admits(deployment)) push(deployment, typeof entry === 'function' ? entry() : entry)
    },
    read(deployment, { after = 0, sinceMs = 0, status, search }) {
      write()
      const from = Math.max(sinceMs, clock.nowMs() - limits.programLogAgeMsMax)
      const { count, last } = placesOf(lookAhead.get(deployment, after))
      const conditions = ['deployment = ?', 'id > ?', 'id <= ?', 'at_ms >= ?']
      const values: (string | number)[] = [deployment, after, last, from]
      if (status) {
        conditions.push('status BETWEEN ? AND ?')
        values.push(status.min, status.max)
      }
      if (search !== undefined) {
        conditions.push('instr(lower(entry), ?) > 0')
        values.push(JSON.stringify(search.toLowerCase()).slice(1, -1))
      }
      const entries = db
        .prepare(`SELECT id, at_ms, entry FROM entries WHERE ${conditions.join(' AND ')} ORDER BY id LIMIT ?`)
        .all(...values, limits.programLogPageEntriesMax)
        .map((row) => fromText(String(row['entry']), { id: Number(row['id']), atMs: Number(row['at_ms']) }))
      const lastShown = entries.length < limits.programLogPageEntriesMax ? undefined : entries.at(-1)?.id
      return {
        entries,
        lookedTo: lastShown ?? Math.max(last, after),
        isWhole: lastShown === undefined && count < limits.programLogLookedAtMax,
      }
    },
    [Symbol.dispose]() {
      closing.abort()
      write()
      db.close()
    },
  }
}

const sizesOf = (row: Record<string, unknown> | undefined) => ({
  count: Number(row?.['count'] ?? 0),
  chars: Number(row?.['chars'] ?? 0),
})

const placesOf = (row: Record<string, unknown> | undefined) => ({
  count: Number(row?.['count'] ?? 0),
  last: Number(row?.['last'] ?? 0),
})

const toText = (entry: FreshEntry): string =>
  JSON.stringify(entry, (_key, value) => (typeof value === 'bigint' ? value.toString() : value))

function fromText(text: string, place: { id: number; atMs: number }): ProgramLogEntry {
  const entry = JSON.parse(text) as FreshEntry
  if (entry.kind !== 'call') return { ...place, ...entry }
  return { ...place, ...entry, chargedUsdc: usdc(BigInt(entry.chargedUsdc)) }
}
