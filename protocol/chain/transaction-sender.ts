import type { Address, Hash, Hex } from 'viem'

/** A signed transaction. It is durable before anybody sees it, and stays `signed` until a block says otherwise. */
export interface TransactionRecord {
  /** What it is for, in the words of whoever ordered it, such as `settle:12`. */
  readonly purpose: string
  readonly from: Address
  readonly nonce: number
  readonly hash: Hash
  /** The signed bytes: sending them again is harmless. */
  readonly raw: Hex
  /** `replaced`: another transaction took its nonce, so it can never be mined. */
  readonly state: 'signed' | 'mined' | 'reverted' | 'replaced'
  readonly blockNumber: bigint | undefined
  readonly signedAtMs: number
}

/** Where signed transactions are kept. `save` resolves when the record would survive a crash. */
export interface TransactionStore {
  save(record: TransactionRecord): Promise<void>
}
