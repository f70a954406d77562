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

/** Where signed transactions are kept. */
export interface TransactionStore {
  /** Resolves when the record would survive a crash. */
  save(record: TransactionRecord): Promise<void>
  /** All that were ever signed with a nonce, oldest first: the first one and those that offered more for gas. */
  readAttempts(at: { readonly from: Address; readonly nonce: number }): Promise<readonly TransactionRecord[]>
  /**
   * One more than the highest nonce that was ever signed; 0 where none was. After a re-org the chain may count less: what
   * it has lost comes first then, and no nonce is ever used for two things.
   */
  readNextNonce(from: Address): Promise<number>
}

/** A store for a process whose transactions end with it: a command, a chain in memory. */
export function createMemoryTransactionStore(): TransactionStore {
  const records = new Map<Hash, TransactionRecord>()
  return {
    async save(record) {
      records.set(record.hash, record)
    },
    async readAttempts({ from, nonce }) {
      return [...records.values()].filter((record) => record.from === from && record.nonce === nonce)
    },
    async readNextNonce(from) {
      const nonces = [...records.values()].filter((record) => record.from === from).map(({ nonce }) => nonce)
      return Math.max(-1, ...nonces) + 1
    },
  }
}
