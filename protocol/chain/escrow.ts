import { type Address, type PublicClient, zeroAddress } from 'viem'
import type { Grant } from '../grant.ts'
import { type Usdc, usdc } from '../usdc.ts'
import { reachChain } from './client.ts'
import { escrowAbi } from './contracts.ts'

/** What an account has free in the escrow, now or at a block. @throws ProtocolError `chain_unreachable` */
export async function readBalance(
  client: PublicClient,
  { escrow, account, blockNumber }: { escrow: Address; account: Address; blockNumber?: bigint },
  signal: AbortSignal,
): Promise<Usdc> {
  const request = {
    address: escrow,
    abi: escrowAbi,
    functionName: 'balanceOf',
    args: [account],
    ...(blockNumber !== undefined && { blockNumber }),
  } as const
  return usdc(await reachChain(client.readContract(request), 'read a balance', signal))
}

export interface GrantKey {
  readonly payer: Address
  readonly provider: Address
  /** Zero, and left out, for metered use. */
  readonly signer?: Address
  /** The latest, where it is left out. */
  readonly blockNumber?: bigint
}

/** A grant as it lies in storage. @returns undefined where it is closed. @throws ProtocolError `chain_unreachable` */
export async function readGrant(
  client: PublicClient,
  escrow: Address,
  { payer, provider, signer = zeroAddress, blockNumber }: GrantKey,
  signal: AbortSignal,
): Promise<Grant | undefined> {
  const found = await reachChain(
    client.readContract({
      address: escrow,
      abi: escrowAbi,
      functionName: 'grantOf',
      args: [payer, provider, signer],
      ...(blockNumber !== undefined && { blockNumber }),
    }),
    'read a grant',
    signal,
  )
  if (found.expiry === 0) return undefined
  return {
    payer,
    provider,
    signer,
    spentUsdc: usdc(found.spent),
    budgetUsdc: usdc(found.budget),
    priceUsdc: usdc(BigInt(found.price)),
    calls: found.calls,
    expiry: found.expiry,
    noticeHours: found.notice,
    epoch: found.epoch,
  }
}
