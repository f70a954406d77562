import { type Address, erc20Abi } from 'viem'
import { type ChainCall, escrowCalls, usdcCalls } from '../../protocol/chain/calls.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { type GrantKey, readBalance, readGrant } from '../../protocol/chain/escrow.ts'
import { type Grant, settleDeadline } from '../../protocol/grant.ts'
import { formatUsdc, type Usdc, usdc } from '../../protocol/usdc.ts'
import type { OpenMarket } from './open.ts'

/** What an account has in its wallet, and free in the escrow. */
export async function readBalances(
  { market, client }: OpenMarket,
  account: Address,
  signal: AbortSignal,
): Promise<{ walletUsdc: Usdc; escrowUsdc: Usdc; gasWei: bigint }> {
  const { usdc: token, escrow } = market.contracts
  const inWallet = { address: token, abi: erc20Abi, functionName: 'balanceOf', args: [account] } as const
  const [wallet, escrowUsdc, gasWei] = await Promise.all([
    reachChain(client.readContract(inWallet), 'read the wallet', signal),
    readBalance(client, { escrow, account }, signal),
    reachChain(client.getBalance({ address: account }), 'read the ether', signal),
  ])
  return { walletUsdc: usdc(wallet), escrowUsdc, gasWei }
}

/** The grant of `payer` for `provider`: the metered one, or that for vouchers of `signer`; undefined where none is open. */
export function readOpenGrant(
  { market, client }: OpenMarket,
  key: GrantKey,
  signal: AbortSignal,
): Promise<Grant | undefined> {
  return readGrant(client, market.contracts.escrow, key, signal)
}

/** Moves `amount` into the escrow; the token is told first, where it does not know yet, that the escrow may take it. */
export async function depositCalls(
  { market, client }: OpenMarket,
  { account, amountUsdc }: { account: Address; amountUsdc: Usdc },
  signal: AbortSignal,
): Promise<readonly ChainCall[]> {
  const { usdc: token, escrow } = market.contracts
  const request = {
    address: token,
    abi: erc20Abi,
    functionName: 'allowance',
    args: [account, escrow],
  } as const
  const allowed = await reachChain(client.readContract(request), 'read the allowance', signal)
  const deposit = escrowCalls(escrow).deposit(amountUsdc)
  return allowed >= amountUsdc ? [deposit] : [usdcCalls(token).approve(escrow, amountUsdc), deposit]
}

/** A grant for people. */
export function formatGrant(grant: Grant, provider: string): string {
  const rows = [
    ['price cap', `${formatUsdc(grant.priceUsdc)} USDC per call`],
    ['budget left', `${formatUsdc(grant.budgetUsdc)} USDC`],
    [
      'spent',
      `${formatUsdc(grant.spentUsdc)} USDC for ${grant.calls} settled ${grant.calls === 1 ? 'call' : 'calls'}`,
    ],
    ['expires', formatTime(grant.expiry)],
    ['notice', `${grant.noticeHours} h: ${provider} may settle until ${formatTime(settleDeadline(grant))}`],
  ]
  return [
    `Grant for ${provider} (${grant.provider}):`,
    ...rows.map(([a, b]) => `  ${a?.padEnd(11)}  ${b}`),
  ].join('\n')
}

export function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')
}
