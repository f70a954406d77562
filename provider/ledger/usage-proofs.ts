import type { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import type { Address, Hex } from 'viem'
import { limits } from '../../protocol/limits.ts'
import { growMerkleTree, type MerkleTree } from '../../protocol/merkle.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import type { ReceiptProof } from '../../protocol/statement.ts'
import type { BatchStore } from './batches.ts'
import { hexOf } from './columns.ts'
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
}

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
  const charges = bigIntStatement(
    db,
    `SELECT r.*, b.id AS batch, b.usage_root,
       (SELECT hash FROM transactions WHERE purpose = 'settle:' || b.id AND state = 'mined' LIMIT 1) AS settlement
     FROM receipts r JOIN batches b ON b.id = (
       SELECT rows.batch FROM batch_rows rows JOIN batches mined ON mined.id = rows.batch
       WHERE rows.account = r.account AND rows.last_receipt >= r.id AND rows.after_receipt < r.id
       AND mined.state IN ('mined', 'final') ORDER BY rows.last_receipt LIMIT 1)
     WHERE r.account = (SELECT id FROM accounts WHERE id = ? AND payer = ?) AND r.id > ?
     AND r.price <> 0 AND r.by_grant = 1 ORDER BY r.id LIMIT ${limits.statementPageEntriesMax}`,
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

  return {
    async readUsageProofs({ payer, lane, after }) {
      const proofs: ReceiptProof[] = []
      for (const row of charges.all(lane, payer, after)) {
        const { tree, places } = await treeOf(Number(row['batch']))
        const place = places.get(receiptLeaf(receiptOf(row, { payer, provider })))
        const isWhole = tree.root === hexOf(row['usage_root'])
        const isShown = isWhole && place !== undefined && row['settlement'] !== null
        proofs.push({
          id: Number(row['id']),
          shown: isShown ? { transaction: hexOf(row['settlement']), proof: tree.proof(place) } : null,
        })
      }
      return proofs
    },
  }
}
