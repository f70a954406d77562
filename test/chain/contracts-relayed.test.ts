import { type Address, type Hex, keccak256, pad, toHex, zeroAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { GrantTerms } from '../../protocol/chain/calls.ts'
import { devUsdcAbi, escrowAbi } from '../../protocol/chain/contracts.ts'
import {
  type DepositAuthorization,
  depositNonce,
  grantNonce,
  relayedCalls,
} from '../../protocol/chain/relayed-calls.ts'
import { marketDomain, typedDataTypes } from '../../protocol/typed-data.ts'
import { usdc } from '../../protocol/usdc.ts'
import { type ContractsOnChain, openContractsOnChain } from '../support/contracts-on-chain.ts'

/** A payer without any ether: a wallet signs in TypeScript, a stranger sends, the contract agrees on what was signed. */

const payer = privateKeyToAccount(keccak256(toHex('payer')))
const provider: Address = '0x00000000000000000000000000000000000000A5'
const relay: Address = '0x00000000000000000000000000000000000000b6'
const far = 4_000_000_000

let chain: ContractsOnChain
beforeAll(async () => {
  chain = await openContractsOnChain()
  await chain.unlock(relay)
  const mint = { from: relay, to: chain.usdc, abi: devUsdcAbi, functionName: 'mint' } as const
  await chain.send({ ...mint, args: [payer.address, 10_000_000n] })
})
afterAll(() => chain[Symbol.asyncDispose]())

const terms = (budgetUsdc: bigint): GrantTerms => ({
  provider,
  signer: payer.address,
  priceUsdc: usdc(500n),
  budgetUsdc: usdc(budgetUsdc),
  expiry: far,
  noticeHours: 48,
})

async function authorise(amount: bigint, salt: Hex, nonce: Hex): Promise<DepositAuthorization> {
  const signature = await payer.signTypedData({
    domain: {
      name: 'USD Coin',
      version: '2',
      chainId: await chain.client.getChainId(),
      verifyingContract: chain.usdc,
    },
    types: {
      ReceiveWithAuthorization: [
        { name: 'from', type: 'address' },
        { name: 'to', type: 'address' },
        { name: 'value', type: 'uint256' },
        { name: 'validAfter', type: 'uint256' },
        { name: 'validBefore', type: 'uint256' },
        { name: 'nonce', type: 'bytes32' },
      ],
    },
    primaryType: 'ReceiveWithAuthorization',
    message: {
      from: payer.address,
      to: chain.escrow,
      value: amount,
      validAfter: 0n,
      validBefore: BigInt(far),
      nonce,
    },
  })
  return { from: payer.address, amountUsdc: usdc(amount), validAfter: 0, validBefore: far, salt, signature }
}

const read = (functionName: 'balanceOf' | 'nonces') =>
  chain.client.readContract({ address: chain.escrow, abi: escrowAbi, functionName, args: [payer.address] })

const budget = async (signer: Address) =>
  (
    await chain.client.readContract({
      address: chain.escrow,
      abi: escrowAbi,
      functionName: 'grantOf',
      args: [payer.address, provider, signer],
    })
  ).budget

const market = async () => marketDomain({ chainId: await chain.client.getChainId(), escrow: chain.escrow })

test('a payer without ether deposits, approves and withdraws by signatures that a stranger sends', async () => {
  const calls = relayedCalls(chain.escrow)
  const salt = pad('0x01', { size: 32 })
  const deposit = await authorise(1_000_000n, salt, depositNonce(salt))
  await chain.sendCall(relay, calls.depositWithAuthorization(deposit))
  expect(await read('balanceOf')).toBe(1_000_000n)

  const both = await authorise(2_000_000n, salt, grantNonce(terms(2_500_000n), salt))
  const { gasUsed } = await chain.sendCall(relay, calls.depositAndApprove(both, terms(2_500_000n)))
  expect(await budget(payer.address)).toBe(2_500_000n)
  expect(await read('balanceOf')).toBe(500_000n)
  expect(gasUsed).toBeLessThan(160_000n)

  const approval = { ...terms(300_000n), signer: zeroAddress }
  const approved = await payer.signTypedData({
    domain: await market(),
    types: { Approve: typedDataTypes.Approve },
    primaryType: 'Approve',
    message: {
      payer: payer.address,
      provider,
      signer: zeroAddress,
      price: 500,
      budget: 300_000n,
      expiry: far,
      notice: 48,
      nonce: await read('nonces'),
      deadline: BigInt(far),
    },
  })
  await chain.sendCall(relay, calls.approve(payer.address, approval, { deadline: far, signature: approved }))
  expect(await budget(zeroAddress)).toBe(300_000n)

  const withdrawal = { owner: payer.address, to: relay, amountUsdc: usdc(200_000n) }
  const withdrawn = await payer.signTypedData({
    domain: await market(),
    types: { Withdraw: typedDataTypes.Withdraw },
    primaryType: 'Withdraw',
    message: {
      owner: payer.address,
      to: relay,
      amount: 200_000n,
      nonce: await read('nonces'),
      deadline: BigInt(far),
    },
  })
  await chain.sendCall(relay, calls.withdraw(withdrawal, { deadline: far, signature: withdrawn }))
  expect(await read('balanceOf')).toBe(0n)
  expect(await read('nonces')).toBe(2n)
})

test('the nonce of a deposit is what the contract computes', async () => {
  const salt = keccak256(toHex('salt'))
  const contract = { address: chain.escrow, abi: escrowAbi } as const
  const { signer, expiry } = terms(1n)
  const asked = { provider, signer, price: 500, budget: 1n, expiry, notice: 48 }
  const nonce = await chain.client.readContract({
    ...contract,
    functionName: 'grantNonce',
    args: [asked, salt],
  })
  expect(grantNonce(terms(1n), salt)).toBe(nonce)
  expect(depositNonce(salt)).toBe(
    await chain.client.readContract({ ...contract, functionName: 'depositNonce', args: [salt] }),
  )
})
