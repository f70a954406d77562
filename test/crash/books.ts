import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { Address, Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { toHex } from '../../protocol/base/bytes.ts'
import { trialSigner } from '../../provider/ledger/lanes.ts'
import { openHistory } from '../../provider/ledger/open-history.ts'
import type { ClientBook } from './lanes.ts'

/** What a dead provider's disk says of one payer. */
export interface LedgerBook {
  readonly chargedUsdc: bigint
  readonly calls: number
  /** Receipts with a price that a grant owes. */
  readonly pricedByGrant: number
  /** Receipts with a price, however it was paid, and those of trial calls. */
  readonly priced: ReadonlySet<Hex>
}

/**
 * Reads the ledger of a process that is gone, with SQL of its own and from a copy: opening the files themselves would
 * tidy up what the next provider has to cope with.
 */
export function readLedger(dir: string): ReadonlyMap<Address, LedgerBook> {
  const copy = mkdtempSync(join(tmpdir(), 'khachapuri-crash-'))
  try {
    cpSync(dir, copy, { recursive: true, filter: (path) => !path.endsWith('-shm') })
    // Takes groups that the tables do not have yet out of their file.
    openHistory(copy)[Symbol.dispose]()
    const db = new DatabaseSync(join(copy, ledgerFile))
    const [check] = db.prepare('PRAGMA integrity_check').all()
    assert(check?.['integrity_check'] === 'ok', `the ledger is whole: ${JSON.stringify(check)}`)
    const books = readBooks(db)
    db.close()
    return books
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

const ledgerFile = 'ledger.sqlite'

function readBooks(db: DatabaseSync): Map<Address, LedgerBook> {
  const books = new Map<Address, LedgerBook>()
  const receiptsOf = db.prepare('SELECT call_id, price, by_grant FROM receipts WHERE account = ?')
  for (const account of db.prepare('SELECT id, payer, signer, charged, calls FROM accounts').all()) {
    const isTrial = account['signer'] === trialSigner
    const priced = receiptsOf
      .all(account['id'] as number)
      .filter((receipt) => isTrial || receipt['price'] !== 0)
    const byGrant = priced.filter((receipt) => receipt['by_grant'] === 1)
    const chargedUsdc = BigInt(account['charged'] as number)
    const summedUsdc = byGrant.reduce((sum, receipt) => sum + BigInt(receipt['price'] as number), 0n)
    const who = `${account['payer']}`
    assert(chargedUsdc === summedUsdc, `${who} was charged ${chargedUsdc}, its receipts say ${summedUsdc}`)
    assert(
      account['calls'] === byGrant.length,
      `${who}: ${account['calls']} calls, ${byGrant.length} receipts`,
    )
    const before = books.get(who as Address)
    books.set(who as Address, {
      chargedUsdc: chargedUsdc + (before?.chargedUsdc ?? 0n),
      calls: byGrant.length + (before?.calls ?? 0),
      pricedByGrant: byGrant.length + (before?.pricedByGrant ?? 0),
      priced: new Set([
        ...(before?.priced ?? []),
        ...priced.map((receipt) => toHex(receipt['call_id'] as Uint8Array)),
      ]),
    })
  }
  for (const { payer, call_id: callId } of db.prepare(unbookedPayments).all()) {
    const book = books.get(payer as Address) ?? nothing
    const priced = new Set([...book.priced, toHex(callId as Uint8Array)])
    books.set(payer as Address, { ...book, priced })
  }
  return books
}

const nothing: LedgerBook = { chargedUsdc: 0n, calls: 0, pricedByGrant: 0, priced: new Set() }

/**
 * The answer of an x402 call and its receipt are durable before the chain is asked; the receipt moves to the others with
 * what the chain says, at the next start if need be. Who asks again has the answer meanwhile.
 */
const unbookedPayments =
  "SELECT payer, call_id FROM payments WHERE is_booked = 0 AND receipt IS NOT NULL AND state <> 'released'"

/** What clients saw against what the disk says. @throws where a paid answer has no receipt, or somebody paid for nothing */
export function compareWithClients(
  ledger: ReadonlyMap<Address, LedgerBook>,
  clients: readonly ClientBook[],
): void {
  for (const { way, payer, answered, unknown, refused } of clients) {
    const priced = ledger.get(payer)?.priced ?? new Set<Hex>()
    const missing = [...answered].filter((callId) => !priced.has(callId))
    assert(
      missing.length === 0,
      `${way}: ${missing.length} paid answers have no receipt: ${missing.slice(0, 3)}`,
    )
    const surplus = priced.size - answered.size
    const known = `${answered.size} answers, ${unknown} unknown, refused ${JSON.stringify([...refused])}`
    assert(surplus <= unknown, `${way}: charged ${priced.size} times, with ${known}`)
  }
}
