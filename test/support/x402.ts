import { randomBytes } from 'node:crypto'
import { encodePaymentSignatureHeader } from '@x402/core/http'
import type { PaymentPayload, PaymentRequirements } from '@x402/core/types'
import { authorizationTypes, ExactEvmScheme } from '@x402/evm'
import { wrapFetchWithPayment, x402Client } from '@x402/fetch'
import { type Address, type Hex, type LocalAccount, type PublicClient, toHex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { type Contracts, createSender } from '../../devnet/contracts.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { usdcCalls } from '../../protocol/chain/calls.ts'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { parseProblem } from '../../protocol/errors.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import {
  type PaymentResult,
  type PaymentTerms,
  parsePaymentRequired,
  parsePaymentResult,
} from '../../protocol/x402.ts'

/** The chain's part of a market, for whoever pays from a wallet. */
export interface WalletChain {
  readonly client: PublicClient
  readonly contracts: Contracts
  /** Pays the gas of minting. */
  readonly accounts: { readonly deployer: { readonly account: LocalAccount } }
}

const signal = new AbortController().signal

/** An account with this much in its wallet; it never needs ether. */
export async function createWallet(
  { client, contracts, accounts }: WalletChain,
  amountUsdc = parseUsdc('1'),
): Promise<LocalAccount> {
  const account = privateKeyToAccount(generatePrivateKey())
  const deps = { client, clock: systemClock, log: createTestLog() }
  const sender = createSender(deps, accounts.deployer.account, contracts.chainId)
  await sender.run(usdcCalls(contracts.usdc).mint(account.address, amountUsdc), signal)
  return account
}

/** What a wallet holds, by the token. */
export const walletOf = ({ client, contracts }: WalletChain, account: Address): Promise<bigint> =>
  client.readContract({
    address: contracts.usdc,
    abi: devUsdcAbi,
    functionName: 'balanceOf',
    args: [account],
  })

/** x402's own client as it is, told only that it may pay in this chain's USDC, which it cannot know. */
export function x402ClientOf(account: LocalAccount): x402Client {
  return new x402Client()
    .setSpendControls({ allowedAssets: true })
    .register('eip155:*', new ExactEvmScheme(account))
}

export const payingFetch = (account: LocalAccount) => wrapFetchWithPayment(fetch, x402ClientOf(account))

/** An answer to a call that may have been paid for. */
export interface PaidAnswer {
  readonly status: number
  readonly text: string
  readonly callId: string | null
  readonly replayed: boolean
  /** The code of the problem document, where it is one. */
  readonly code: string | undefined
  readonly result: PaymentResult | undefined
  readonly headers: Headers
}

export interface PaidRequest {
  readonly url: URL
  /** A `PAYMENT-SIGNATURE`. */
  readonly payment?: string
  readonly method?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** One request and nothing more: no second one after a 402. */
export async function sendPaid({
  url,
  payment,
  method = 'GET',
  body,
  headers = {},
}: PaidRequest): Promise<PaidAnswer> {
  const response = await fetch(url, {
    method,
    headers: { ...headers, ...(payment !== undefined && { 'payment-signature': payment }) },
    ...(body !== undefined && { body }),
  })
  const text = await response.text()
  const result = response.headers.get('payment-response')
  return {
    status: response.status,
    text,
    callId: response.headers.get('khachapuri-call'),
    replayed: response.headers.has('khachapuri-replayed'),
    code: response.headers.get('content-type')?.includes('problem')
      ? parseProblem(JSON.parse(text))?.code
      : undefined,
    result: result === null ? undefined : parsePaymentResult(result),
    headers: response.headers,
  }
}

/** What a call's 402 asks for. */
export async function askTerms(url: URL): Promise<PaymentTerms> {
  const { headers } = await sendPaid({ url })
  const [terms] = parsePaymentRequired(headers.get('payment-required') ?? '')
  if (!terms) throw new Error('the 402 names no terms')
  return terms
}

export interface PaymentChanges {
  readonly accepted?: Readonly<Record<string, unknown>>
  readonly authorization?: Partial<
    Record<'from' | 'to' | 'value' | 'validAfter' | 'validBefore' | 'nonce', string>
  >
  /** Of the domain that is signed for. */
  readonly domain?: Readonly<Record<string, unknown>>
  readonly signature?: Hex
  readonly identifier?: string
}

/** Signs a payment by hand, with these parts changed before it is signed. @returns a `PAYMENT-SIGNATURE` */
export async function signPayment(
  terms: PaymentTerms,
  payer: LocalAccount,
  { accepted, authorization = {}, domain = {}, signature, identifier }: PaymentChanges = {},
): Promise<string> {
  const requirements = {
    scheme: 'exact',
    network: `eip155:${terms.chainId}`,
    amount: terms.amountUsdc.toString(),
    asset: terms.asset.address,
    payTo: terms.payTo,
    maxTimeoutSeconds: terms.maxTimeoutSeconds,
    extra: { name: terms.asset.name, version: terms.asset.version },
    ...accepted,
  } as PaymentRequirements
  const signed = {
    from: payer.address as string,
    to: terms.payTo as string,
    value: terms.amountUsdc.toString(),
    validAfter: '0',
    validBefore: String(Math.floor(Date.now() / 1000) + terms.maxTimeoutSeconds),
    nonce: toHex(randomBytes(32)) as string,
    ...authorization,
  }
  const made = await payer.signTypedData({
    domain: {
      name: terms.asset.name,
      version: terms.asset.version,
      chainId: terms.chainId,
      verifyingContract: terms.asset.address,
      ...domain,
    },
    types: authorizationTypes,
    primaryType: 'TransferWithAuthorization',
    message: {
      from: signed.from as Address,
      to: signed.to as Address,
      value: BigInt(signed.value),
      validAfter: BigInt(signed.validAfter),
      validBefore: BigInt(signed.validBefore),
      nonce: signed.nonce as Hex,
    },
  })
  const payload: PaymentPayload = {
    x402Version: 2,
    accepted: requirements,
    payload: { signature: signature ?? made, authorization: signed },
    ...(identifier !== undefined && {
      extensions: { 'payment-identifier': { info: { required: false, id: identifier } } },
    }),
  }
  return encodePaymentSignatureHeader(payload)
}

/** What takes an authorization back, as EIP-3009 has it. */
export const signCancellation = ({ chainId, asset }: PaymentTerms, payer: LocalAccount, nonce: Hex) =>
  payer.signTypedData({
    domain: { name: asset.name, version: asset.version, chainId, verifyingContract: asset.address },
    types: {
      CancelAuthorization: [
        { name: 'authorizer', type: 'address' },
        { name: 'nonce', type: 'bytes32' },
      ],
    },
    primaryType: 'CancelAuthorization',
    message: { authorizer: payer.address, nonce },
  })

/** A signature in three parts: v, r, s. */
export const cutSignature = (signature: Hex) =>
  [
    Number(`0x${signature.slice(130)}`),
    `0x${signature.slice(2, 66)}` as Hex,
    `0x${signature.slice(66, 130)}` as Hex,
  ] as const
