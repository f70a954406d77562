import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { ProtocolError } from '../../protocol/errors.ts'
import { addressOf } from './columns.ts'
import type { LedgerIdentity } from './records.ts'

/** "Khch". Tells our files from other SQLite files. */
const applicationId = 0x4b_68_63_68
/** 9 came with the group file, whose entries an older release would not look for; else it is as 8. */
const schemaVersion = 9
const upgradedVersion = 8

/**
 * Opens the journal's file for this process alone: write-ahead log, synced in full at every commit.
 *
 * @throws ProtocolError `ledger_unavailable` where another process has it open or the disk fails; `config_invalid`
 * where it belongs to another provider, market or version.
 */
export function openDatabase(dir: string, identity: LedgerIdentity): DatabaseSync {
  const path = join(dir, 'ledger.sqlite')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  const db = new DatabaseSync(path, { timeout: 0 })
  try {
    // The lock is taken by the first access and held until the process ends, by kill -9 too.
    db.exec(`PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
      PRAGMA wal_autocheckpoint = 8000;
      PRAGMA cache_size = -65536; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; BEGIN IMMEDIATE; COMMIT`)
    prepareSchema(db, identity, path)
    return db
  } catch (error) {
    db.close()
    throw describeOpenFailure(error, path)
  }
}

/** Whose ledger a file is. @throws ProtocolError as `openDatabase` */
export function readLedgerIdentity(path: string): LedgerIdentity {
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(path, { timeout: 0, readOnly: true })
    const row = db.prepare('SELECT provider, chain_id, escrow FROM identity').get() ?? {}
    const market = { chainId: Number(row['chain_id']), escrow: addressOf(row['escrow']) }
    return { provider: addressOf(row['provider']), market }
  } catch (error) {
    throw describeOpenFailure(error, path)
  } finally {
    db?.close()
  }
}

function prepareSchema(db: DatabaseSync, identity: LedgerIdentity, path: string): void {
  const version = readPragma(db, 'user_version')
  const isNew = version === 0 && readPragma(db, 'application_id') === 0 && countTables(db) === 0
  if (isNew) {
    createSchema(db, identity)
    return
  }
  const isKnown = version === schemaVersion || version === upgradedVersion
  if (readPragma(db, 'application_id') !== applicationId || !isKnown) {
    throw new ProtocolError('config_invalid', `${path} is not a ledger of version ${schemaVersion}.`, {
      hint: 'Use another data directory, or the release of the provider that wrote it.',
    })
  }
  const found = readIdentity(db)
  if (found !== describeIdentity(identity)) {
    throw new ProtocolError(
      'config_invalid',
      `${path} belongs to ${found}, not to ${describeIdentity(identity)}.`,
      { hint: 'Use one data directory for each provider and market.' },
    )
  }
  db.exec(`BEGIN; ${additions}; PRAGMA user_version = ${schemaVersion}; COMMIT`)
}

function createSchema(db: DatabaseSync, { provider, market }: LedgerIdentity): void {
  db.exec(
    `BEGIN; ${schema}; ${additions}; PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${schemaVersion}`,
  )
  db.prepare('INSERT INTO identity VALUES (1, ?, ?, ?)').run(provider, market.chainId, market.escrow)
  db.exec('COMMIT')
}

/** Amounts are unsigned 64-bit numbers in SQLite's signed column; see columns.ts. */
const schema = `
  CREATE TABLE identity (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    provider TEXT NOT NULL, chain_id INTEGER NOT NULL, escrow TEXT NOT NULL
  ) STRICT;
  CREATE TABLE accounts (
    id INTEGER PRIMARY KEY,
    payer TEXT NOT NULL, signer TEXT NOT NULL, epoch INTEGER NOT NULL,
    charged INTEGER NOT NULL, calls INTEGER NOT NULL,
    batched_receipt INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE UNIQUE INDEX accounts_by_lane ON accounts (payer, signer, epoch);
  CREATE TABLE receipts (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL REFERENCES accounts,
    call_id BLOB NOT NULL,
    program_id BLOB NOT NULL, deployment BLOB NOT NULL,
    request_digest BLOB NOT NULL, response_digest BLOB NOT NULL,
    status INTEGER NOT NULL, outcome INTEGER NOT NULL, price INTEGER NOT NULL,
    started_at INTEGER NOT NULL, duration_ms INTEGER NOT NULL,
    charged INTEGER NOT NULL, calls INTEGER NOT NULL,
    by_grant INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX receipts_by_call ON receipts (call_id);
  CREATE INDEX receipts_by_account ON receipts (account);
  CREATE TABLE passes (
    payer TEXT NOT NULL, id BLOB NOT NULL,
    charged INTEGER NOT NULL, valid_before INTEGER NOT NULL,
    PRIMARY KEY (payer, id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE revoked_passes (
    payer TEXT NOT NULL, id BLOB NOT NULL, valid_before INTEGER NOT NULL,
    PRIMARY KEY (payer, id)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE vouchers (
    payer TEXT NOT NULL, signer TEXT NOT NULL, epoch INTEGER NOT NULL,
    max_amount INTEGER NOT NULL, max_calls INTEGER NOT NULL, signature BLOB NOT NULL,
    accepted_at_ms INTEGER NOT NULL,
    PRIMARY KEY (payer, signer, epoch)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE voucher_accesses (
    payer TEXT NOT NULL, signer TEXT NOT NULL, epoch INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (payer, signer)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE owners (
    spec BLOB PRIMARY KEY,
    day INTEGER NOT NULL, charged INTEGER NOT NULL,
    minute INTEGER NOT NULL, calls INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE answers (
    id INTEGER PRIMARY KEY,
    payer TEXT NOT NULL, deployment BLOB NOT NULL, key TEXT NOT NULL,
    request_digest BLOB NOT NULL, call_id BLOB NOT NULL, stored_at_ms INTEGER NOT NULL,
    status INTEGER, headers TEXT, body BLOB
  ) STRICT;
  CREATE UNIQUE INDEX answers_by_key ON answers (payer, deployment, key);
  CREATE INDEX answers_by_age ON answers (stored_at_ms);
  CREATE TABLE payments (
    id INTEGER PRIMARY KEY,
    payer TEXT NOT NULL, nonce BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('reserved', 'executed', 'submitted', 'mined', 'final', 'released')),
    is_booked INTEGER NOT NULL,
    call_id BLOB NOT NULL,
    payee TEXT NOT NULL, amount INTEGER NOT NULL, valid_after INTEGER NOT NULL, valid_before INTEGER NOT NULL,
    signature BLOB NOT NULL,
    deployment BLOB NOT NULL, request_digest BLOB NOT NULL,
    from_block INTEGER NOT NULL, updated_at_ms INTEGER NOT NULL,
    tx BLOB, block_number INTEGER, reason TEXT, receipt TEXT, key TEXT,
    status INTEGER, headers TEXT, body BLOB
  ) STRICT;
  CREATE UNIQUE INDEX payments_by_nonce ON payments (payer, nonce);
  CREATE UNIQUE INDEX payments_by_call ON payments (call_id);
  CREATE INDEX payments_by_tx ON payments (tx) WHERE tx IS NOT NULL;
  CREATE INDEX payments_by_state ON payments (state) WHERE state NOT IN ('final', 'released');
  CREATE INDEX payments_by_age ON payments (updated_at_ms) WHERE receipt IS NOT NULL;
  CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('batched', 'submitted', 'mined', 'final', 'abandoned')),
    usage_root BLOB NOT NULL, receipts INTEGER NOT NULL, created_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX batches_by_state ON batches (state) WHERE state NOT IN ('final', 'abandoned');
  CREATE TABLE batch_rows (
    batch INTEGER NOT NULL REFERENCES batches, position INTEGER NOT NULL,
    account INTEGER NOT NULL REFERENCES accounts,
    amount INTEGER NOT NULL, calls INTEGER NOT NULL,
    after_receipt INTEGER NOT NULL, last_receipt INTEGER NOT NULL,
    max_amount INTEGER, max_calls INTEGER, signature BLOB,
    PRIMARY KEY (batch, position)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE transactions (
    hash BLOB PRIMARY KEY,
    purpose TEXT NOT NULL, sender TEXT NOT NULL, nonce INTEGER NOT NULL, raw BLOB NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('signed', 'mined', 'reverted', 'replaced')),
    block_number INTEGER, signed_at_ms INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX transactions_by_purpose ON transactions (purpose);
  CREATE INDEX transactions_by_nonce ON transactions (sender, nonce)`

/** What ledgers of this version may lack, because it came later and changes nothing that is in them. */
const additions = `
  CREATE INDEX IF NOT EXISTS batch_rows_by_lane ON batch_rows (account, last_receipt);
  CREATE TABLE IF NOT EXISTS receipt_keys (
    id INTEGER PRIMARY KEY,
    x BLOB NOT NULL, y BLOB NOT NULL,
    valid_after INTEGER NOT NULL, valid_before INTEGER NOT NULL, delegation BLOB NOT NULL
  ) STRICT;
  CREATE TABLE IF NOT EXISTS receipt_groups (
    first_receipt INTEGER PRIMARY KEY,
    leaves BLOB NOT NULL, signature BLOB NOT NULL, key INTEGER NOT NULL REFERENCES receipt_keys
  ) STRICT;
  CREATE TABLE IF NOT EXISTS group_file (
    id INTEGER PRIMARY KEY CHECK (id = 1), generation BLOB NOT NULL
  ) STRICT`

function readPragma(db: DatabaseSync, name: string): unknown {
  return db.prepare(`PRAGMA ${name}`).get()?.[name]
}

function countTables(db: DatabaseSync): unknown {
  return db.prepare('SELECT count(*) AS tables FROM sqlite_schema').get()?.['tables']
}

function readIdentity(db: DatabaseSync): string {
  const row = db.prepare('SELECT provider, chain_id, escrow FROM identity').get()
  return `provider ${row?.['provider']} on chain ${row?.['chain_id']} with escrow ${row?.['escrow']}`
}

function describeIdentity({ provider, market }: LedgerIdentity): string {
  return `provider ${provider} on chain ${market.chainId} with escrow ${market.escrow}`
}

/** SQLITE_BUSY: somebody else holds the lock. */
const sqliteBusy = 5

function describeOpenFailure(error: unknown, path: string): unknown {
  if (error instanceof ProtocolError) return error
  const isBusy = ((error as { errcode?: number }).errcode ?? 0) % 256 === sqliteBusy
  return new ProtocolError(
    'ledger_unavailable',
    isBusy ? `${path} is open in another provider.` : `${path} cannot be opened: ${String(error)}`,
    {
      hint: isBusy
        ? 'Stop the other provider, or give this one its own data directory.'
        : 'Check the disk and the rights of the data directory.',
      cause: error,
    },
  )
}
