import {
  type Address,
  type Hash,
  type PublicClient,
  type TransactionReceipt,
  TransactionReceiptNotFoundError,
} from 'viem'
import { reachChain } from './client.ts'
import type { TransactionRecord } from './transaction-record.ts'

export type TransactionFate =
  /** The receipt's hash is that of whichever attempt the block has. */
  | { readonly kind: 'mined'; readonly receipt: TransactionReceipt }
  | { readonly kind: 'reverted'; readonly receipt: TransactionReceipt }
  /** Another program took the nonce. */
  | { readonly kind: 'replaced' }

/** Nobody knows yet. `nextNonce`: the one that the next block would take from this account. */
export interface UnknownFate {
  readonly kind: 'unknown'
  readonly nextNonce: number
}

/** One look at all attempts of one nonce. @throws ProtocolError `chain_unreachable` */
export async function readFate(
  client: PublicClient,
  { from, nonce, attempts }: { from: Address; nonce: number; attempts: readonly TransactionRecord[] },
  signal: AbortSignal,
): Promise<TransactionFate | UnknownFate> {
  // In this order: a receipt that comes between the two must not look like a replacement.
  const nextNonce = await reachChain(
    client.getTransactionCount({ address: from }),
    'count transactions',
    signal,
  )
  // The newest offer is the likeliest.
  for (const { hash } of attempts.toReversed()) {
    const receipt = await reachChain(readReceipt(client, hash), 'read a receipt', signal)
    if (receipt) return { kind: receipt.status === 'success' ? 'mined' : 'reverted', receipt }
  }
  return nextNonce > nonce ? { kind: 'replaced' } : { kind: 'unknown', nextNonce }
}

/** @returns undefined where the chain has no receipt for the transaction. */
export function readReceipt(client: PublicClient, hash: Hash): Promise<TransactionReceipt | undefined> {
  return client.getTransactionReceipt({ hash }).catch((error: unknown) => {
    if (error instanceof TransactionReceiptNotFoundError) return undefined
    throw error
  })
}

/** Whether the server has heard of any of the attempts. @throws ProtocolError `chain_unreachable` */
export async function isKnown(
  client: PublicClient,
  attempts: readonly TransactionRecord[],
  signal: AbortSignal,
): Promise<boolean> {
  const look = async ({ hash }: TransactionRecord) =>
    (await client.request({ method: 'eth_getTransactionByHash', params: [hash] })) !== null
  const found = await reachChain(Promise.all(attempts.map(look)), 'look for a transaction', signal)
  return found.includes(true)
}
