import { type Address, type Hex, type LocalAccount, recoverTypedDataAddress } from 'viem'
import { isCanonicalSignature } from './signed-token.ts'
import { type Market, marketDomain, typedDataTypes } from './typed-data.ts'

/**
 * The P-256 key that signs a provider's receipts, and until when. The provider's account says so once, with the signature
 * that holds its money; the key itself signs every group of receipts, and takes a fourteenth of the time.
 */
export interface ReceiptKey {
  readonly provider: Address
  /** The public point, 32 bytes each. */
  readonly x: Hex
  readonly y: Hex
  /** Calls that ended between the two, in seconds since 1970. */
  readonly validAfter: number
  readonly validBefore: number
}

export interface DelegatedKey extends ReceiptKey {
  /** EIP-712, by the provider's account, 65 bytes. */
  readonly delegation: Hex
}

const message = (key: ReceiptKey, market: Market) =>
  ({
    types: { ReceiptKey: typedDataTypes.ReceiptKey },
    primaryType: 'ReceiptKey',
    domain: marketDomain(market),
    message: key,
  }) as const

/** Has `account` vouch for a key. */
export async function delegateReceiptKey(
  key: ReceiptKey,
  account: Pick<LocalAccount, 'signTypedData'>,
  market: Market,
): Promise<DelegatedKey> {
  return { ...key, delegation: await account.signTypedData(message(key, market)) }
}

/** Whether the account of `key.provider` vouched for it in this market, with the one form that its signature has on chain, too. */
export async function isDelegated({ delegation, ...key }: DelegatedKey, market: Market): Promise<boolean> {
  if (!isCanonicalSignature(Buffer.from(delegation.slice(2), 'hex'))) return false
  const signer = await recoverTypedDataAddress({ ...message(key, market), signature: delegation }).catch(
    () => undefined,
  )
  return signer === key.provider
}
