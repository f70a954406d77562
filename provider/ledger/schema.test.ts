import { expect, test } from 'vitest'
import { createTempDir, market, provider } from '../../test/support/money.ts'
import { openDatabase } from './schema.ts'

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
