import { type Address, createTestClient, http, type PublicClient, parseEther } from 'viem'
import { usdcCalls } from '../../protocol/chain/calls.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import type { Bond } from '../../protocol/chain/registry.ts'
import { readWallet } from '../../protocol/chain/registry.ts'
import type { CommandContext } from '../command.ts'
import type { MarketPlace } from './market.ts'
import { openSender, type Writer } from './write.ts'

const etherGiven = parseEther('10')

/** Ether for accounts that have none, on a development chain that lets anybody write balances, as Hardhat's does. */
export async function giveEther(
  { market, client }: { market: Pick<MarketPlace, 'rpc'>; client: PublicClient },
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

/** Makes what an account's wallet lacks of a name's bond, on a development chain, whose USDC anybody may make. */
export async function giveBond(
  writer: Writer,
  { token, amountUsdc }: Bond,
  context: CommandContext,
): Promise<void> {
  const { client, market, account } = writer
  const wallet = { token, account: account.address, spender: market.contracts.registry }
  const { balance } = await readWallet(client, wallet, context.signal)
  if (balance >= amountUsdc) return
  await openSender(writer, context).run(usdcCalls(token).mint(account.address, amountUsdc), context.signal)
}
