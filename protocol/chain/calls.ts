import { type Address, encodeDeployData, encodeFunctionData, type Hex, parseAbi } from 'viem'
import { type Name, nameNode, providersKey } from '../name.ts'
import type { RegistrationTerms } from '../registration.ts'
import {
  type CreditsRow,
  encodeCreditsRows,
  encodeRedeemRows,
  encodeSettleRows,
  type RedeemRow,
  type SettleRow,
} from '../settlement.ts'
import { formatUsdc, type Usdc } from '../usdc.ts'
import type { Authorization } from '../x402.ts'
import { devUsdcAbi, escrowAbi, registryAbi, resolverAbi, resolverBytecode } from './contracts.ts'

/** One transaction before it has a sender. */
export interface ChainCall {
  /** What it does, as in `deposit 5 USDC`. */
  readonly label: string
  /** Absent where it makes a contract. */
  readonly to: Address | undefined
  readonly data: Hex
}

/** What a payer offers a provider. */
export interface GrantTerms {
  readonly provider: Address
  /** Zero for metered use. */
  readonly signer: Address
  readonly priceUsdc: Usdc
  /** What is left for the provider afterwards, not what is added. */
  readonly budgetUsdc: Usdc
  readonly expiry: number
  readonly noticeHours: number
}

/** The calls of the escrow at `escrow`. */
export const escrowCalls = (escrow: Address) => ({
  deposit: (amountUsdc: Usdc): ChainCall => ({
    label: `deposit ${formatUsdc(amountUsdc)} USDC`,
    to: escrow,
    data: encodeFunctionData({ abi: escrowAbi, functionName: 'deposit', args: [amountUsdc] }),
  }),
  depositFor: (account: Address, amountUsdc: Usdc): ChainCall => ({
    label: `deposit ${formatUsdc(amountUsdc)} USDC for ${account}`,
    to: escrow,
    data: encodeFunctionData({ abi: escrowAbi, functionName: 'depositFor', args: [account, amountUsdc] }),
  }),
  withdraw: (amountUsdc: Usdc): ChainCall => ({
    label: `withdraw ${formatUsdc(amountUsdc)} USDC`,
    to: escrow,
    data: encodeFunctionData({ abi: escrowAbi, functionName: 'withdraw', args: [amountUsdc] }),
  }),
  approve: ({ provider, signer, priceUsdc, budgetUsdc, expiry, noticeHours }: GrantTerms): ChainCall => ({
    label: `approve ${formatUsdc(budgetUsdc)} USDC for ${provider}`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'approve',
      args: [
        {
          provider,
          signer,
          price: Number(priceUsdc),
          budget: budgetUsdc,
          expiry,
          notice: noticeHours,
        },
      ],
    }),
  }),
  revoke: (provider: Address, signer: Address): ChainCall => ({
    label: `revoke the grant for ${provider}`,
    to: escrow,
    data: encodeFunctionData({ abi: escrowAbi, functionName: 'revoke', args: [provider, signer] }),
  }),
  reclaim: (provider: Address, signer: Address): ChainCall => ({
    label: `reclaim what is left for ${provider}`,
    to: escrow,
    data: encodeFunctionData({ abi: escrowAbi, functionName: 'reclaim', args: [provider, signer] }),
  }),
  settle: (rows: readonly SettleRow[], usageRoot: Hex): ChainCall => ({
    label: `settle ${rows.length} payers`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'settle',
      args: [encodeSettleRows(rows), usageRoot],
    }),
  }),
  redeem: (rows: readonly RedeemRow[], usageRoot: Hex): ChainCall => ({
    label: `redeem ${rows.length} vouchers`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'redeem',
      args: [encodeRedeemRows(rows), usageRoot],
    }),
  }),
  grantCredits: (user: Address, calls: number): ChainCall => ({
    label: `give ${user} ${calls} trial calls`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'grantCredits',
      args: [user, BigInt(calls)],
    }),
  }),
  useCredits: (rows: readonly CreditsRow[]): ChainCall => ({
    label: `count the trial calls of ${rows.length} users`,
    to: escrow,
    data: encodeFunctionData({
      abi: escrowAbi,
      functionName: 'useCredits',
      args: [encodeCreditsRows(rows)],
    }),
  }),
})

/** The calls of the token at `usdc`. `mint` exists on development chains only. */
export const usdcCalls = (usdc: Address) => ({
  approve: (spender: Address, amountUsdc: Usdc): ChainCall => ({
    label: `let ${spender} take ${formatUsdc(amountUsdc)} USDC`,
    to: usdc,
    data: encodeFunctionData({ abi: devUsdcAbi, functionName: 'approve', args: [spender, amountUsdc] }),
  }),
  mint: (to: Address, amountUsdc: Usdc): ChainCall => ({
    label: `mint ${formatUsdc(amountUsdc)} USDC`,
    to: usdc,
    data: encodeFunctionData({ abi: devUsdcAbi, functionName: 'mint', args: [to, amountUsdc] }),
  }),
  /** @param signedBy - Whose signature it is: that of the account's key, or one that its contract takes. */
  transferWithAuthorization: (
    authorization: Authorization,
    { signature, signedBy }: { readonly signature: Hex; readonly signedBy: 'key' | 'contract' },
  ): ChainCall => ({
    label: `take ${formatUsdc(authorization.valueUsdc)} USDC from ${authorization.from}`,
    to: usdc,
    data:
      signedBy === 'key'
        ? encodeKeySigned(authorization, signature)
        : encodeContractSigned(authorization, signature),
  }),
})

const transferArgs = ({ from, to, valueUsdc, validAfter, validBefore, nonce }: Authorization) =>
  [from, to, valueUsdc, BigInt(validAfter), BigInt(validBefore), nonce] as const

/** What a key signs, every token of EIP-3009 takes in three parts. */
function encodeKeySigned(authorization: Authorization, signature: Hex): Hex {
  const r: Hex = `0x${signature.slice(2, 66)}`
  const s: Hex = `0x${signature.slice(66, 130)}`
  const v = Number.parseInt(signature.slice(130), 16)
  return encodeFunctionData({
    abi: devUsdcAbi,
    functionName: 'transferWithAuthorization',
    args: [...transferArgs(authorization), v < 2 ? v + 27 : v, r, s],
  })
}

/** Circle's token takes what contracts sign as bytes, of whatever length; in three parts, others hold it for a key's. */
function encodeContractSigned(authorization: Authorization, signature: Hex): Hex {
  return encodeFunctionData({
    abi: signedBytesAbi,
    functionName: 'transferWithAuthorization',
    args: [...transferArgs(authorization), signature],
  })
}

const signedBytesAbi = parseAbi([
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)',
])

/** The calls of the registry at `registry`. */
export const registryCalls = (registry: Address) => ({
  commit: (commitment: Hex): ChainCall => ({
    label: 'commit to a name',
    to: registry,
    data: encodeFunctionData({ abi: registryAbi, functionName: 'commit', args: [commitment] }),
  }),
  register: ({ name, owner, resolver, durationSeconds, secret }: RegistrationTerms): ChainCall => ({
    label: `register ${name}`,
    to: registry,
    data: encodeFunctionData({
      abi: registryAbi,
      functionName: 'register',
      args: [name, owner, resolver, BigInt(durationSeconds), secret],
    }),
  }),
  renew: (name: Name, durationSeconds: number): ChainCall => ({
    label: `renew ${name}`,
    to: registry,
    data: encodeFunctionData({
      abi: registryAbi,
      functionName: 'renew',
      args: [nameNode(name), BigInt(durationSeconds)],
    }),
  }),
  setResolver: (name: Name, resolver: Address): ChainCall => ({
    label: `point ${name} to ${resolver}`,
    to: registry,
    data: encodeFunctionData({
      abi: registryAbi,
      functionName: 'setResolver',
      args: [nameNode(name), resolver],
    }),
  }),
  unregister: (name: Name): ChainCall => ({
    label: `give ${name} back`,
    to: registry,
    data: encodeFunctionData({ abi: registryAbi, functionName: 'unregister', args: [nameNode(name)] }),
  }),
})

export interface ResolverRecords {
  readonly owner: Address
  readonly addr: Address
  readonly server: string
  /** RSA public key as DER SubjectPublicKeyInfo. */
  readonly pubkey: Hex
}

/** Makes a resolver; its address is in the transaction's receipt. */
export const deployResolverCall = ({ owner, addr, server, pubkey }: ResolverRecords): ChainCall => ({
  label: 'make a resolver',
  to: undefined,
  data: encodeDeployData({
    abi: resolverAbi,
    bytecode: resolverBytecode,
    args: [owner, addr, server, pubkey],
  }),
})

/** The calls of the resolver at `resolver`. */
export const resolverCalls = (resolver: Address) => ({
  setAddr: (addr: Address): ChainCall => ({
    label: `set the address to ${addr}`,
    to: resolver,
    data: encodeFunctionData({ abi: resolverAbi, functionName: 'setAddr', args: [addr] }),
  }),
  setServer: (server: string): ChainCall => ({
    label: `set the server to ${server}`,
    to: resolver,
    data: encodeFunctionData({ abi: resolverAbi, functionName: 'setServer', args: [server] }),
  }),
  setPubkey: (pubkey: Hex): ChainCall => ({
    label: 'set the public key',
    to: resolver,
    data: encodeFunctionData({ abi: resolverAbi, functionName: 'setPubkey', args: [pubkey] }),
  }),
  /** Sets what a name stands for and who serves it in one transaction, so that nobody sees one without the other. */
  setDeployment: (
    name: Name,
    { contenthash, cid, providers }: { contenthash: Hex; cid: string; providers: string },
  ): ChainCall => ({
    label: `point ${name} to ${cid}`,
    to: resolver,
    data: encodeFunctionData({
      abi: resolverAbi,
      functionName: 'multicall',
      args: [
        [
          encodeFunctionData({
            abi: resolverAbi,
            functionName: 'setText',
            args: [nameNode(name), providersKey, providers],
          }),
          encodeFunctionData({
            abi: resolverAbi,
            functionName: 'setContenthash',
            args: [nameNode(name), contenthash],
          }),
        ],
      ],
    }),
  }),
  /** A text of one of the names that this resolver answers for. */
  setText: (name: Name, { key, value }: { key: string; value: string }): ChainCall => ({
    label: `set the text "${key}" of ${name}`,
    to: resolver,
    data: encodeFunctionData({
      abi: resolverAbi,
      functionName: 'setText',
      args: [nameNode(name), key, value],
    }),
  }),
  /** @param hash - As ENSIP-7 has it. */
  setContenthash: (name: Name, hash: Hex): ChainCall => ({
    label: `set what ${name} stands for`,
    to: resolver,
    data: encodeFunctionData({
      abi: resolverAbi,
      functionName: 'setContenthash',
      args: [nameNode(name), hash],
    }),
  }),
})
