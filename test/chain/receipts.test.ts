import { type Address, encodeDeployData } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { outcomes } from '../../protocol/call.ts'
import { receiptsAbi, receiptsBytecode } from '../../protocol/chain/contracts.ts'
import { createMerkleTree } from '../../protocol/merkle.ts'
import { receiptLeaf } from '../../protocol/receipt.ts'
import { delegateReceiptKey } from '../../protocol/receipt-key.ts'
import type { SignedReceipt } from '../../protocol/signed-receipt.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { usdc } from '../../protocol/usdc.ts'
import { createReceiptSigner } from '../../provider/ledger/receipt-signer.ts'
import { type ContractsOnChain, openContractsOnChain } from '../support/contracts-on-chain.ts'
import { claimOf, receiptOf } from '../support/money.ts'

/** What a provider's process signs, a contract checks: the same verdicts as offline. */

const verdicts = [
  'valid',
  'signature wrong',
  'key of another',
  'key not delegated',
  'key not in time',
] as const
const account = privateKeyToAccount(generatePrivateKey())
const seconds = 1_700_000_000

let chain: ContractsOnChain
let market: Market
let receipts: Address
beforeAll(async () => {
  chain = await openContractsOnChain()
  market = { chainId: await chain.client.getChainId(), escrow: chain.escrow }
  receipts = await chain.deploy(
    encodeDeployData({ abi: receiptsAbi, bytecode: receiptsBytecode, args: [chain.escrow] }),
  )
})
afterAll(() => chain[Symbol.asyncDispose]())

/** A group as a provider's journal signs it. */
async function signGroup(size: number, signedFor = market): Promise<SignedReceipt[]> {
  const signer = createReceiptSigner(signedFor)
  const life = { validAfter: seconds - 60, validBefore: seconds + 60 }
  const key = { provider: account.address, ...signer.point, ...life }
  signer.key = await delegateReceiptKey(key, account, signedFor)
  const group = Array.from({ length: size }, (_, index) =>
    receiptOf(claimOf(), { provider: account.address, durationMs: index, startedAt: seconds * 1000 }),
  )
  const tree = createMerkleTree(group.map(receiptLeaf))
  return group.map((receipt, index) => ({
    market: signedFor,
    receipt,
    path: tree.proof(index),
    ...signer.sign(tree.root),
  }))
}

function callOf({ receipt, path, key, signature }: SignedReceipt) {
  const { outcome, priceUsdc: price, startedAt, ...plain } = receipt
  const { delegation, ...delegated } = key
  const [r, s] = [signature.slice(0, 66), `0x${signature.slice(66)}`] as [`0x${string}`, `0x${string}`]
  const signed = { ...plain, outcome: outcomes[outcome], price, startedAt: BigInt(startedAt) }
  return {
    address: receipts,
    abi: receiptsAbi,
    functionName: 'verify',
    args: [signed, { path, r, s, key: delegated, delegation }],
  } as const
}

const verify = async (signed: SignedReceipt) => verdicts[await chain.client.readContract(callOf(signed))]

test('a receipt of a group of any size is valid on chain, for the gas of a transfer of a token', async () => {
  for (const size of [1, 2, 3, 7]) {
    for (const signed of await signGroup(size)) expect(await verify(signed)).toBe('valid')
  }
  const [signed] = await signGroup(512)
  const gas = await chain.client.estimateContractGas(callOf(signed as SignedReceipt))
  expect(gas).toBeLessThan(60_000n)
})

test('whatever is another is not valid, and why is said', async () => {
  const [signed, second] = (await signGroup(2)) as [SignedReceipt, SignedReceipt]
  const { receipt, key } = signed
  const [other] = (await signGroup(1)) as [SignedReceipt]
  const abroad = (await signGroup(1, { ...market, chainId: 1 }))[0] as SignedReceipt
  const stranger = privateKeyToAccount(generatePrivateKey()).address
  const of = (changes: Partial<SignedReceipt>) => verify({ ...signed, ...changes })

  expect(await of({ receipt: { ...receipt, priceUsdc: usdc(receipt.priceUsdc + 1n) } })).toBe(
    'signature wrong',
  )
  expect(await of({ receipt: { ...receipt, status: 500 } })).toBe('signature wrong')
  expect(await of({ path: second.path })).toBe('signature wrong')
  expect(await of({ path: [] })).toBe('signature wrong')
  expect(await of({ signature: other.signature })).toBe('signature wrong')
  expect(await of({ key: other.key })).toBe('signature wrong')
  expect(await verify(abroad)).toBe('signature wrong')
  expect(await of({ key: { ...key, provider: stranger } })).toBe('key of another')
  expect(await of({ key: { ...key, validBefore: key.validBefore + 1 } })).toBe('key not delegated')
  expect(await of({ key: { ...key, delegation: other.key.delegation } })).toBe('key not delegated')
  expect(await of({ key: { ...key, delegation: '0x' } })).toBe('key not delegated')
})

test('a call that ended before the key held, or after, is not valid', async () => {
  const signer = createReceiptSigner(market)
  const life = { validAfter: seconds - 60, validBefore: seconds + 60 }
  const key = { provider: account.address, ...signer.point, ...life }
  signer.key = await delegateReceiptKey(key, account, market)
  const at = async (startedAt: number, durationMs: number) => {
    const receipt = receiptOf(claimOf(), { provider: account.address, startedAt, durationMs })
    return verify({ market, receipt, path: [], ...signer.sign(receiptLeaf(receipt)) })
  }
  expect(await at((seconds - 60) * 1000 - 1, 1)).toBe('valid')
  expect(await at((seconds - 60) * 1000 - 2, 1)).toBe('key not in time')
  expect(await at((seconds + 60) * 1000 - 1, 1)).toBe('valid')
  expect(await at((seconds + 60) * 1000 - 1, 2)).toBe('key not in time')
})
