import { type Address, encodeAbiParameters, encodeFunctionData, type Hex, keccak256 } from 'viem'
import { formatUsdc, type Usdc } from '../usdc.ts'
import type { ChainCall, GrantTerms } from './calls.ts'
import { escrowAbi } from './contracts.ts'

/** What `from` signs at the token (EIP-3009 `ReceiveWithAuthorization`, to the escrow) for anybody to send. */
export interface DepositAuthorization {
  readonly from: Address
  readonly amountUsdc: Usdc
  /** Seconds since 1970; not valid at that second yet. */
  readonly validAfter: number
  /** Seconds since 1970; not valid at that second any more. */
  readonly validBefore: number
  /** Any number that was not used before; the nonce that is signed is computed from it. */
  readonly salt: Hex
  readonly signature: Hex
}

/** What a payer signs for the escrow, with its next `nonces(payer)`, for anybody to send. */
export interface RelayedSignature {
  /** Seconds since 1970; still good at that second. */
  readonly deadline: number
  readonly signature: Hex
}

/** The EIP-3009 nonce of a deposit to the free balance. */
export function depositNonce(salt: Hex): Hex {
  return keccak256(encodeAbiParameters([{ type: 'bytes32' }], [salt]))
}

/** The EIP-3009 nonce of a deposit that opens or improves a grant: nobody can use it for other terms. */
export function grantNonce(terms: GrantTerms, salt: Hex): Hex {
  const { provider, signer, price, budget, expiry, notice } = toTerms(terms)
  return keccak256(
    encodeAbiParameters(
      [
        { type: 'address' },
        { type: 'address' },
        { type: 'uint40' },
        { type: 'uint64' },
        { type: 'uint32' },
        { type: 'uint8' },
        { type: 'bytes32' },
      ],
      [provider, signer, price, budget, expiry, notice, salt],
    ),
  )
}

/** The calls of the escrow that are done for whoever signed them, by whoever pays the gas. */
export const relayedCalls = (escrow: Address) => ({
  depositWithAuthorization: (authorization: DepositAuthorization): ChainCall => ({
    label: `deposit ${formatUsdc(authorization.amountUsdc)} USDC of ${authorization.from}`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'depositWithAuthorization',
      args: [toAuthorization(authorization), authorization.salt, authorization.signature],
    }),
  }),
  depositAndApprove: (authorization: DepositAuthorization, terms: GrantTerms): ChainCall => ({
    label: `deposit and approve for ${authorization.from}`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'depositAndApproveWithAuthorization',
      args: [toAuthorization(authorization), toTerms(terms), authorization.salt, authorization.signature],
    }),
  }),
  approve: (payer: Address, terms: GrantTerms, { deadline, signature }: RelayedSignature): ChainCall => ({
    label: `approve ${formatUsdc(terms.budgetUsdc)} USDC of ${payer} for ${terms.provider}`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'approveBySig',
      args: [payer, toTerms(terms), BigInt(deadline), signature],
    }),
  }),
  withdraw: (
    { owner, to, amountUsdc }: { readonly owner: Address; readonly to: Address; readonly amountUsdc: Usdc },
    { deadline, signature }: RelayedSignature,
  ): ChainCall => ({
    label: `withdraw ${formatUsdc(amountUsdc)} USDC of ${owner}`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'withdrawBySig',
      args: [owner, to, amountUsdc, BigInt(deadline), signature],
    }),
  }),
})

const toAuthorization = ({ from, amountUsdc, validAfter, validBefore }: DepositAuthorization) => ({
  from,
  amount: amountUsdc,
  validAfter: BigInt(validAfter),
  validBefore: BigInt(validBefore),
})

const toTerms = ({ provider, signer, priceUsdc, budgetUsdc, expiry, noticeHours }: GrantTerms) => ({
  provider,
  signer,
  price: Number(priceUsdc),
  budget: budgetUsdc,
  expiry,
  notice: noticeHours,
})
