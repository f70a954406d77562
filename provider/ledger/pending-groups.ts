import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import type { Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import type { DelegatedKey } from '../../protocol/receipt-key.ts'
import { generationBytes, openGroupFile } from './group-file.ts'
import { decodeGroup, type GroupWire } from './group-wire.ts'
import type { ChargeStore, SealedGroup } from './store.ts'

/**
 * Makes groups of charges durable in a file of their own, and puts many of them into the tables at once: one transaction
 * for hundreds of calls has one sync, and changes each page once. Runs in the journal's thread, where nothing
 * looks at the tables before `apply`.
 */
export interface PendingGroups extends Disposable {
  /** There are enough for a transaction. */
  readonly isDue: boolean
  readonly isEmpty: boolean
  /** Makes a group durable, all of it or nothing. @returns its receipts, signed, in their order. */
  commit(group: GroupWire): readonly string[]
  /** Puts into the tables what is in the file only. */
  apply(): void
}

/** What a process left in the file that died is in the tables when this returns. @throws ProtocolError `ledger_unavailable` */
export function openPendingGroups(
  { db, store }: { readonly db: DatabaseSync; readonly store: ChargeStore },
  dir: string,
): PendingGroups {
  const saveGeneration = db.prepare('INSERT OR REPLACE INTO group_file VALUES (1, ?)')
  const last = db.prepare('SELECT generation FROM group_file').get()?.['generation']
  const file = openGroupFile(join(dir, 'ledger.groups'), last as Uint8Array | undefined)
  let pending: SealedGroup[] = []
  let records = 0
  let failure: unknown

  /** In one transaction with what makes the file's entries void. */
  function write(groups: readonly SealedGroup[]): void {
    // What the store remembers of a transaction that was taken back is wrong: the next start has it right, and the groups.
    if (failure) throw failure
    const generation = randomBytes(generationBytes)
    try {
      store.write(groups, () => saveGeneration.run(generation))
    } catch (error) {
      failure = error
      throw error
    }
    file.restart(generation)
    pending = []
    records = 0
  }

  try {
    write(file.found.map(parseEntry))
  } catch (error) {
    file[Symbol.dispose]()
    throw error
  }

  return {
    get isDue() {
      return records >= recordsAtOnce
    },
    get isEmpty() {
      return pending.length === 0
    },
    commit(wire) {
      const group = store.seal(decodeGroup(wire))
      // Stored answers are large, and ends of payments change rows that are there already: both go into the tables at once.
      if (!wire.extras && file.append(formatEntry(group, wire.rows))) {
        pending.push(group)
        records += group.records.length
      } else write([...pending, group])
      return group.receipts
    },
    apply() {
      if (pending.length > 0) write(pending)
    },
    [Symbol.dispose]: () => file[Symbol.dispose](),
  }
}

/** The more, the less each of them costs, and the longer the next group waits: this is about two milliseconds. */
const recordsAtOnce = 256

/** Two lines of JSON: signature and key, then the rows as they came. */
const formatEntry = ({ seal: { signature, key } }: SealedGroup, rows: string): string =>
  `${JSON.stringify([signature, key] satisfies Sealing)}\n${rows}`

type Sealing = readonly [signature: Hex, key: DelegatedKey]

/** It is what this program wrote: its checksum was right. */
function parseEntry(entry: string): SealedGroup {
  const end = entry.indexOf('\n')
  assert(end > 0, 'an entry has two lines')
  const [signature, key] = JSON.parse(entry.slice(0, end)) as Sealing
  const records = decodeGroup({ rows: entry.slice(end + 1), extras: undefined })
  return { records, seal: { leaves: records.map(({ receipt }) => receiptLeaf(receipt)), signature, key } }
}
