import { hkdfSync } from 'node:crypto'
import type { LocalAccount } from 'viem'

/**
 * A secret key that only the holder of an account's key can compute, and can compute again: from a signature (RFC 6979: the same
 * each time) that is shown to nobody. What it encrypts needs no password of its own.
 *
 * @param purpose - Another one gives a key that says nothing about this one.
 * @returns 32 bytes
 */
export async function deriveOwnKey(account: LocalAccount, purpose: string): Promise<Uint8Array> {
  const signature = await account.signMessage({ message: statement })
  return new Uint8Array(hkdfSync('sha256', Buffer.from(signature.slice(2), 'hex'), '', purpose, 32))
}

/** Not typed data of the market: nothing that is signed for anybody else can be the same. */
const statement =
  'Khachapuri: the key of what this account keeps for itself.\nWhoever has this signature can read it. Never show it.'
