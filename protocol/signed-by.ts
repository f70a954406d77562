import { type Address, type Hex, isAddressEqual, recoverAddress } from 'viem'
import { isCanonicalSignature } from './signed-token.ts'

/** That an account signed a hash. */
export interface SignatureClaim {
  readonly address: Address
  readonly hash: Hex
  readonly signature: Hex
}

/** Asks the contract at an account whether it signed (ERC-1271); false where there is none. */
export type AskContract = (claim: SignatureClaim) => Promise<boolean>

/**
 * Who vouches for a signature: the account's key, in the one form that each signature by key has here; or the contract that
 * the account is, which may take anything for a signature, and may think otherwise tomorrow.
 *
 * @param askContract - Absent where contracts cannot be asked.
 */
export async function findSigner(
  claim: SignatureClaim,
  askContract: AskContract | undefined,
): Promise<'key' | 'contract' | undefined> {
  const { address, hash, signature } = claim
  if (isCanonicalSignature(Buffer.from(signature.slice(2), 'hex'))) {
    const signer = await recoverAddress({ hash, signature }).catch(() => undefined)
    if (signer && isAddressEqual(signer, address)) return 'key'
  }
  return (await askContract?.(claim)) ? 'contract' : undefined
}
