import { ExactEvmScheme } from '@x402/evm'
import { decodePaymentResponseHeader, wrapFetchWithPayment, x402Client } from '@x402/fetch'
import type { Address, LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createSender } from '../../devnet/contracts.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { usdcCalls } from '../../protocol/chain/calls.ts'
import { devUsdcAbi } from '../../protocol/chain/contracts.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { type Deployed, echoProgram, openMarket, type TestMarket } from '../support/market.ts'

/**
 * A stranger with USDC in a wallet and nothing else pays for calls, by x402's own client as it is. Balances are those of
 * the token, not of the escrow.
 */

const signal = new AbortController().signal
const price = 500n
let at: TestMarket
let byCaller: Deployed
beforeAll(async () => {
  at = await openMarket()
  byCaller = await at.deploy(echoProgram, '--payer', 'caller', '--timeout', '2000')
})
afterAll(() => at[Symbol.asyncDispose]())

/** An account with this much in its wallet; it never needs ether. */
async function createWallet(amountUsdc = parseUsdc('1')): Promise<LocalAccount> {
  const account = privateKeyToAccount(generatePrivateKey())
  const { client, accounts, contracts } = at.dev
  const sender = createSender(
    { client, clock: systemClock, log: createTestLog() },
    accounts.deployer.account,
    contracts.chainId,
  )
  await sender.run(usdcCalls(contracts.usdc).mint(account.address, amountUsdc), signal)
  return account
}

const walletOf = (account: Address) =>
  at.dev.client.readContract({
    address: at.dev.contracts.usdc,
    abi: devUsdcAbi,
    functionName: 'balanceOf',
    args: [account],
  })

const alice = () => at.dev.providers.alice
const urlOf = ({ cid }: Deployed, path = '/') => new URL(`/${cid}${path}`, alice().url)

/** Their client, told that it may pay in this chain's USDC, which it cannot know. */
const clientOf = (account: LocalAccount) =>
  new x402Client().setSpendControls({ allowedAssets: true }).register('eip155:*', new ExactEvmScheme(account))

const payingFetch = (account: LocalAccount) => wrapFetchWithPayment(fetch, clientOf(account))

const resultOf = (response: Response) =>
  decodePaymentResponseHeader(response.headers.get('payment-response') ?? '')

/** What an act moved from a wallet to alice's. */
async function movedBy(payer: LocalAccount, act: () => Promise<unknown>): Promise<readonly [bigint, bigint]> {
  const before = [await walletOf(payer.address), await walletOf(alice().address)] as const
  await act()
  const after = [await walletOf(payer.address), await walletOf(alice().address)] as const
  return [before[0] - after[0], after[1] - before[1]]
}

test('an x402 client as it is pays a call: exactly the price moves from its wallet to the provider', async () => {
  const payer = await createWallet()
  let callId = ''
  const moved = await movedBy(payer, async () => {
    const response = await payingFetch(payer)(urlOf(byCaller, '/answer?body=paid'))
    expect([response.status, await response.text()]).toEqual([200, 'paid'])
    const result = resultOf(response)
    expect(result).toMatchObject({ success: true, payer: payer.address, network: 'eip155:31337' })
    const receipt = await at.dev.client.getTransactionReceipt({ hash: result.transaction as `0x${string}` })
    expect(receipt).toMatchObject({ status: 'success', from: alice().address.toLowerCase() })
    callId = response.headers.get('khachapuri-call') ?? ''
  })
  expect(moved).toEqual([price, price])
  const receipt = await (await fetch(new URL(`/_/receipts/${callId}`, alice().url))).json()
  expect(receipt).toMatchObject({
    callId,
    payer: payer.address,
    price: '500',
    outcome: 'answered',
    status: 200,
  })
})
