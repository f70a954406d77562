import {
  type Address,
  decodeFunctionData,
  type Hash,
  hexToBigInt,
  hexToNumber,
  isAddressEqual,
  type PublicClient,
  recoverTransactionAddress,
  serializeTransaction,
  size,
} from 'viem'
import { z } from 'zod'
import { limits } from '../limits.ts'
import { hexSchema } from '../schema.ts'
import { decodeCreditsRows, decodeRedeemRows, decodeSettleRows, type RedeemRow } from '../settlement.ts'
import type { Market } from '../typed-data.ts'
import { type Usdc, zeroUsdc } from '../usdc.ts'
import { recoverVoucherSigner } from '../voucher.ts'
import { reachChain } from './client.ts'
import { escrowAbi } from './contracts.ts'

/** What a provider asked the escrow for, of one payer: totals since the grant exists. */
export interface CollectionClaim {
  /** By `settle`, by `redeem` with a voucher of this signer, or trial calls by `useCredits`. */
  readonly by: 'settle' | { readonly signer: Address } | 'useCredits'
  readonly amountUsdc: Usdc
  readonly calls: number
}

export interface ClaimsQuery {
  readonly transaction: Hash
  readonly provider: Address
  readonly payer: Address
  readonly market: Market
}

/**
 * What one transaction claims of a payer. Of the RPC server nothing is believed: the transaction is put together anew, and
 * holds only where the provider's key signed exactly that, for this chain and this escrow. So a server that lies can hold
 * back a claim, or show an older one, and make up none.
 *
 * @returns nothing where there is no such transaction
 * @throws ProtocolError `chain_unreachable`
 */
export async function readClaims(
  client: PublicClient,
  { transaction, provider, payer, market }: ClaimsQuery,
  signal: AbortSignal,
): Promise<CollectionClaim[]> {
  const asked = client.request({ method: 'eth_getTransactionByHash', params: [transaction] })
  const parsed = transactionSchema.safeParse(await reachChain(asked, 'read a settlement', signal))
  if (!parsed.success) return []
  const signed = parsed.data
  const { chainId, escrow } = market
  if (hexToBigInt(signed.chainId) !== BigInt(chainId) || !isAddressEqual(signed.to, escrow)) return []
  if ((await recoverSender(signed)) !== provider) return []
  const claims = decodeClaims(signed.input).filter((claim) => isAddressEqual(claim.payer, payer))
  const found: CollectionClaim[] = []
  for (const { by, amountUsdc, calls } of claims) {
    if (typeof by === 'string') found.push({ by, amountUsdc, calls })
    else {
      const signer = await recoverVoucherSigner({ ...by.voucher, provider }, by.signature, market)
      if (signer) found.push({ by: { signer }, amountUsdc, calls })
    }
  }
  return found
}

const quantity = z
  .string()
  .regex(/^0x[0-9a-f]{1,64}$/)
  .transform((text) => text as Hash)

const parity = z.enum(['0x0', '0x1'])

/** As this provider's sender signs them (EIP-1559); others it has not signed. */
const transactionSchema = z.object({
  type: z.literal('0x2'),
  chainId: quantity,
  nonce: quantity,
  to: hexSchema(20),
  value: quantity,
  gas: quantity,
  maxFeePerGas: quantity,
  maxPriorityFeePerGas: quantity,
  accessList: z.array(z.never()).max(0).optional(),
  input: z
    .string()
    .max(2 + 2 * limits.settlementBytesMax)
    .regex(/^0x(?:[0-9a-f]{2})*$/)
    .transform((text) => text as Hash),
  r: quantity,
  s: quantity,
  v: parity.optional(),
  yParity: parity.optional(),
})

type SignedTransaction = z.output<typeof transactionSchema>

async function recoverSender(signed: SignedTransaction): Promise<Address | undefined> {
  const { r, s, v, yParity = v } = signed
  if (yParity === undefined) return undefined
  const fieldsOf = () => ({
    type: 'eip1559' as const,
    chainId: hexToNumber(signed.chainId),
    nonce: hexToNumber(signed.nonce),
    to: signed.to,
    value: hexToBigInt(signed.value),
    gas: hexToBigInt(signed.gas),
    maxFeePerGas: hexToBigInt(signed.maxFeePerGas),
    maxPriorityFeePerGas: hexToBigInt(signed.maxPriorityFeePerGas),
    data: signed.input,
  })
  try {
    const serialized = serializeTransaction(fieldsOf(), { r, s, yParity: hexToNumber(yParity) })
    return await recoverTransactionAddress({ serializedTransaction: serialized })
  } catch {
    // Numbers that no transaction has, or a signature that is none.
    return undefined
  }
}

interface DecodedClaim extends Pick<CollectionClaim, 'amountUsdc' | 'calls'> {
  readonly payer: Address
  readonly by: 'settle' | 'useCredits' | Pick<RedeemRow, 'voucher' | 'signature'>
}

function decodeClaims(input: Hash): DecodedClaim[] {
  const call = decodeCall(input)
  switch (call?.functionName) {
    case 'settle':
      return (decodeSettleRows(call.args[0]) ?? []).map((row) => ({ ...row, by: 'settle' }))
    case 'redeem':
      return (decodeRedeemRows(call.args[0]) ?? []).map(({ voucher, signature, amountUsdc, calls }) => ({
        payer: voucher.payer,
        amountUsdc,
        calls,
        by: { voucher, signature },
      }))
    case 'useCredits':
      return (decodeCreditsRows(call.args[0]) ?? []).map(({ user, calls }) => ({
        payer: user,
        amountUsdc: zeroUsdc,
        calls,
        by: 'useCredits',
      }))
    default:
      return []
  }
}

function decodeCall(input: Hash) {
  if (size(input) < 4) return undefined
  try {
    return decodeFunctionData({ abi: escrowAbi, data: input })
  } catch {
    return undefined
  }
}
