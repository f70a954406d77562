import type { Address, TypedDataDomain } from 'viem'
import { keccak256, utf8 } from './base/bytes.ts'

/**
 * The EIP-712 types of the four objects, of what stands under a receipt (`ReceiptKey`, `ReceiptGroup`), and of the two
 * things that the escrow does for whoever signed them (`Approve`, `Withdraw`). `contracts/TypedData.sol` holds the same strings; a property test keeps the
 * two equal. The order of fields is wire format.
 */
export const typedDataTypes = {
  Deployment: [
    { name: 'owner', type: 'address' },
    { name: 'program', type: 'string' },
    { name: 'runtime', type: 'string' },
    { name: 'specDigest', type: 'bytes32' },
  ],
  Pass: [
    { name: 'payer', type: 'address' },
    { name: 'providers', type: 'address[]' },
    { name: 'deployment', type: 'bytes32' },
    { name: 'maxPricePerCall', type: 'uint64' },
    { name: 'maxSpend', type: 'uint64' },
    { name: 'validAfter', type: 'uint64' },
    { name: 'validBefore', type: 'uint64' },
    { name: 'id', type: 'bytes32' },
  ],
  Voucher: [
    { name: 'payer', type: 'address' },
    { name: 'provider', type: 'address' },
    { name: 'maxAmount', type: 'uint64' },
    { name: 'maxCalls', type: 'uint32' },
    { name: 'epoch', type: 'uint8' },
  ],
  Receipt: [
    { name: 'callId', type: 'bytes32' },
    { name: 'programId', type: 'bytes32' },
    { name: 'deployment', type: 'bytes32' },
    { name: 'payer', type: 'address' },
    { name: 'provider', type: 'address' },
    { name: 'requestDigest', type: 'bytes32' },
    { name: 'responseDigest', type: 'bytes32' },
    { name: 'status', type: 'uint16' },
    { name: 'outcome', type: 'uint8' },
    { name: 'price', type: 'uint64' },
    { name: 'startedAt', type: 'uint64' },
    { name: 'durationMs', type: 'uint32' },
  ],
  ReceiptKey: [
    { name: 'provider', type: 'address' },
    { name: 'x', type: 'bytes32' },
    { name: 'y', type: 'bytes32' },
    { name: 'validAfter', type: 'uint32' },
    { name: 'validBefore', type: 'uint32' },
  ],
  ReceiptGroup: [{ name: 'root', type: 'bytes32' }],
  Approve: [
    { name: 'payer', type: 'address' },
    { name: 'provider', type: 'address' },
    { name: 'signer', type: 'address' },
    { name: 'price', type: 'uint40' },
    { name: 'budget', type: 'uint64' },
    { name: 'expiry', type: 'uint32' },
    { name: 'notice', type: 'uint8' },
    { name: 'nonce', type: 'uint256' },
    { name: 'deadline', type: 'uint256' },
  ],
  Withdraw: [
    { name: 'owner', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'amount', type: 'uint64' },
    { name: 'nonce', type: 'uint256' },
    { name: 'deadline', type: 'uint256' },
  ],
} as const

/** The chain and the escrow that a signature belongs to; on any other pair it means nothing. */
export interface Market {
  readonly chainId: number
  readonly escrow: Address
}

/** The EIP-712 domain of everything that this network signs. */
export function marketDomain({ chainId, escrow }: Market): TypedDataDomain {
  return { name: 'Khachapuri', version: '1', chainId, verifyingContract: escrow }
}

/**
 * EIP-712's `domainSeparator` of a market. Written out, because what signs receipts must not need viem to start; a
 * property test keeps the two equal.
 */
export function marketSeparator({ chainId, escrow }: Market): Uint8Array {
  const words = Buffer.alloc(5 * 32)
  words.set(domainTypeHash)
  words.set(keccak256(utf8.encode('Khachapuri')), 32)
  words.set(keccak256(utf8.encode('1')), 64)
  words.writeBigUInt64BE(BigInt(chainId), 4 * 32 - 8)
  words.write(escrow.slice(2), 5 * 32 - 20, 'hex')
  return keccak256(words)
}

const domainTypeHash = keccak256(
  utf8.encode('EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)'),
)
