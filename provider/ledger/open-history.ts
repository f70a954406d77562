import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { ProtocolError } from '../../protocol/errors.ts'
import { createHistory, type History } from './history.ts'
import { openPendingGroups } from './pending-groups.ts'
import { createReceiptSigner } from './receipt-signer.ts'
import type { LedgerIdentity } from './records.ts'
import { openDatabase, readLedgerIdentity } from './schema.ts'
import { createChargeStore } from './store.ts'

/** The history in a ledger that no provider has open. Meanwhile none can open it. */
export interface OpenHistory extends Disposable {
  readonly identity: LedgerIdentity
  readonly history: History
}

/** @throws ProtocolError `config_invalid` where there is no ledger; `ledger_unavailable` where a provider has it open */
export function openHistory(dir: string): OpenHistory {
  const path = join(dir, 'ledger.sqlite')
  if (!existsSync(path)) {
    throw new ProtocolError('config_invalid', `There is no ledger at ${path}.`, {
      hint: 'Name the directory of the provider with --dir <dir>.',
    })
  }
  const identity = readLedgerIdentity(path)
  const db = openDatabase(dir, identity)
  const store = createChargeStore(db, identity, createReceiptSigner(identity.market))
  // What a provider that was killed had no time for.
  openPendingGroups({ db, store }, dir)[Symbol.dispose]()
  return { identity, history: createHistory(db, identity), [Symbol.dispose]: () => db.close() }
}
