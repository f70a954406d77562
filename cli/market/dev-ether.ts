import { type Address, createTestClient, http, parseEther } from 'viem'
import { reachChain } from '../../protocol/chain/client.ts'
import type { OpenMarket } from './open.ts'

const etherGiven = parseEther('10')

/** Ether for accounts that have none, on a development chain that lets anybody write balances, as Hardhat's does. */
export async function giveEther(
  { market, client }: OpenMarket,
  accounts: ReadonlySet<Address>,
  signal: AbortSignal,
): Promise<void> {
  const test = createTestClient({ mode: 'hardhat', transport: http(market.rpc.href, { retryCount: 0 }) })
  for (const address of accounts) {
    const balanceWei = await reachChain(client.getBalance({ address }), 'read the ether', signal)
    if (balanceWei === 0n)
      await reachChain(test.setBalance({ address, value: etherGiven }), 'give ether', signal)
  }
}
