import { expect, test } from 'vitest'
import { createTempDir, market, provider } from '../../test/support/money.ts'
import { openDatabase } from './schema.ts'

test('a ledger of the version before is taken over, and then refused to a release that knows no group file', () => {
  using dir = createTempDir()
  const identity = { provider, market }
  const old = openDatabase(dir.path, identity)
  old.exec('DROP TABLE group_file; PRAGMA user_version = 8')
  old.close()
  const db = openDatabase(dir.path, identity)
  try {
    expect(db.prepare('PRAGMA user_version').get()).toEqual({ user_version: 9 })
    expect(db.prepare('SELECT count(*) AS rows FROM group_file').get()).toEqual({ rows: 0 })
  } finally {
    db.close()
  }
})

test('whatever is committed is on the disk itself, and survives a machine that loses its power', () => {
  using dir = createTempDir()
  const db = openDatabase(dir.path, { provider, market })
  try {
    // A process that is killed leaves its writes to the system, so no kill shows whether it has synced them.
    expect(db.prepare('PRAGMA synchronous').get()).toEqual({ synchronous: 2 })
    expect(db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' })
  } finally {
    db.close()
  }
})
