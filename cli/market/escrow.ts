import { type Address, encodeFunctionData, erc20Abi, zeroAddress } from 'viem'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import type { Grant } from '../../protocol/grant.ts'
import { settleDeadline } from '../../protocol/grant.ts'
import { formatUsdc, type Usdc, usdc } from '../../protocol/usdc.ts'
import type { Chains } from './chain.ts'
import { explainChainError } from './chain-error.ts'
import type { MarketPlace } from './market.ts'
import type { Step } from './write.ts'

interface At {
  readonly market: MarketPlace
  readonly client: Chains
}

/** What an account has in its wallet, and free in the escrow. */
export async function readBalances(
  { market, client }: At,
  account: Address,
): Promise<{ walletUsdc: Usdc; escrowUsdc: Usdc; gasWei: bigint }> {
  const { usdc: token, escrow } = market.contracts
  const [wallet, free, gasWei] = await Promise.all([
    client.readContract({ address: token, abi: erc20Abi, functionName: 'balanceOf', args: [account] }),
    client.readContract({ address: escrow, abi: escrowAbi, functionName: 'balanceOf', args: [account] }),
    client.getBalance({ address: account }),
  ]).catch((error: unknown) => {
    throw explainChainError(error, 'read the balances')
  })
  return { walletUsdc: usdc(wallet), escrowUsdc: usdc(free), gasWei }
}

/** The metered grant of `payer` for `provider`, or undefined where none is open. */
export async function readGrant(
  { market, client }: At,
  { payer, provider }: { payer: Address; provider: Address },
): Promise<Grant | undefined> {
  const slot = await client
    .readContract({
      address: market.contracts.escrow,
      abi: escrowAbi,
      functionName: 'grantOf',
      args: [payer, provider, zeroAddress],
    })
    .catch((error: unknown) => {
      throw explainChainError(error, 'read the grant')
    })
  if (slot.expiry === 0) return undefined
  return {
    payer,
    provider,
    signer: zeroAddress,
    spentUsdc: usdc(slot.spent),
    budgetUsdc: usdc(slot.budget),
    priceUsdc: usdc(BigInt(slot.price)),
    calls: slot.calls,
    expiry: slot.expiry,
    noticeHours: slot.notice,
    epoch: slot.epoch,
  }
}

/** Moves `amount` into the escrow; the token is asked first where it has not been told yet that the escrow may. */
export async function depositSteps(
  { market, client }: At,
  account: Address,
  amount: Usdc,
): Promise<readonly Step[]> {
  const { usdc: token, escrow } = market.contracts
  const allowed = await client
    .readContract({ address: token, abi: erc20Abi, functionName: 'allowance', args: [account, escrow] })
    .catch((error: unknown) => {
      throw explainChainError(error, 'read the allowance')
    })
  const allow: Step = {
    label: `allow the escrow to take ${formatUsdc(amount)} USDC`,
    to: token,
    data: encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args: [escrow, amount] }),
  }
  const deposit: Step = {
    label: `deposit ${formatUsdc(amount)} USDC`,
    to: escrow,
    data: encodeFunctionData({ abi: escrowAbi, functionName: 'deposit', args: [amount] }),
  }
  return allowed >= amount ? [deposit] : [allow, deposit]
}

/** A grant for people. */
export function formatGrant(grant: Grant, provider: string): string {
  const rows = [
    ['price cap', `${formatUsdc(grant.priceUsdc)} USDC per call`],
    ['budget left', `${formatUsdc(grant.budgetUsdc)} USDC`],
    ['spent', `${formatUsdc(grant.spentUsdc)} USDC for ${grant.calls} settled calls`],
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
