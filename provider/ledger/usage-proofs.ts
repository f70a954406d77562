import type { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import type { Address, Hex } from 'viem'
import { limits } from '../../protocol/limits.ts'
import { growMerkleTree, type MerkleTree } from '../../protocol/merkle.ts'
import type { ShownRoot } from '../../protocol/published-root.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import type { ReceiptProof } from '../../protocol/statement.ts'
import { zeroUsdc } from '../../protocol/usdc.ts'
import type { BatchStore } from './batches.ts'
import { addressOf, bytesOf, hexOf } from './columns.ts'
import type { LedgerIdentity } from './records.ts'
import { bigIntStatement } from './statements.ts'
import { receiptOf } from './store.ts'

/** Shows payers that their calls are under the usage roots that settlements published. Runs in the journal's thread. */
export interface UsageProofs {
  /**
   * The receipts of one lane that settlements charged for, a page at a time, each with its way to the usage root of one.
   * What a re-org left under no root, and where receipts of a settlement were given up for their age, is left out.
   */
  readUsageProofs(at: {
    readonly payer: Address
    readonly lane: number
    readonly after: number
  }): Promise<ReceiptProof[]>
  /** The same for one call, for whoever knows its id. @returns undefined where there is no such call */
  readShownRoot(callId: Hex): Promise<ShownRoot | undefined>
}

type Charge = Readonly<Record<string, unknown>>

interface BatchTree {
  readonly batch: number
  readonly tree: MerkleTree
  readonly places: ReadonlyMap<Hex, number>
}

export function createUsageProofs(
  db: DatabaseSync,
  { provider }: LedgerIdentity,
  { readLeaves }: Pick<BatchStore, 'readLeaves'>,
): UsageProofs {
  const chargesOf = (condition: string, countMax: number) => `SELECT r.*, b.id AS batch, b.usage_root,
       (SELECT hash FROM transactions WHERE purpose = 'settle:' || b.id AND state = 'mined' LIMIT 1) AS settlement
     FROM receipts r JOIN batches b ON b.id = (
       SELECT rows.batch FROM batch_rows rows JOIN batches mined ON mined.id = rows.batch
       WHERE rows.account = r.account AND rows.last_receipt >= r.id AND rows.after_receipt < r.id
       AND mined.state IN ('mined', 'final') ORDER BY rows.last_receipt LIMIT 1)
     WHERE ${condition} AND r.price <> 0 AND r.by_grant = 1 ORDER BY r.id LIMIT ${countMax}`
  const charges = bigIntStatement(
    db,
    chargesOf(
      'r.account = (SELECT id FROM accounts WHERE id = ? AND payer = ?) AND r.id > ?',
      limits.statementPageEntriesMax,
    ),
  )
  const chargeOf = bigIntStatement(db, chargesOf('r.call_id = ?', 1))
  const kindOf = bigIntStatement(
    db,
    'SELECT r.price, r.by_grant, a.payer FROM receipts r JOIN accounts a ON a.id = r.account WHERE r.call_id = ?',
  )
  // Who reads one page of a settlement reads the next one; one tree at a time is in memory.
  let last: BatchTree | undefined
  let building: Promise<unknown> = Promise.resolve()

  function treeOf(batch: number): Promise<BatchTree> {
    const built = building.then(async () => {
      if (last?.batch === batch) return last
      const leaves = await readLeaves(batch)
      last = {
        batch,
        tree: await growMerkleTree(leaves, setImmediate),
        places: new Map(leaves.map((leaf, place) => [leaf, place])),
      }
      return last
    })
    building = built.catch(() => undefined)
    return built
  }

  async function show(row: Charge, payer: Address): Promise<ReceiptProof['shown']> {
    const { tree, places } = await treeOf(Number(row['batch']))
    const place = places.get(receiptLeaf(receiptOf(row, { payer, provider })))
    const isWhole = tree.root === hexOf(row['usage_root'])
    if (!isWhole || place === undefined || row['settlement'] === null) return null
    return { transaction: hexOf(row['settlement']), proof: tree.proof(place) }
  }

  return {
    async readUsageProofs({ payer, lane, after }) {
      const proofs: ReceiptProof[] = []
      for (const row of charges.all(lane, payer, after)) {
        proofs.push({ id: Number(row['id']), shown: await show(row, payer) })
      }
      return proofs
    },

    async readShownRoot(callId) {
      const [call] = kindOf.all(bytesOf(callId))
      if (!call) return undefined
      if (call['by_grant'] === 0n) return { state: 'x402' }
      if (call['price'] === zeroUsdc) return { state: 'free' }
      const [row] = chargeOf.all(bytesOf(callId))
      const shown = row && (await show(row, addressOf(call['payer'])))
      return shown ? { state: 'published', ...shown } : { state: 'unpublished' }
    },
  }
}
