import type { Address, Hex, PublicClient } from 'viem'
import { type Name, nameNode } from '../name.ts'
import { type Usdc, usdc } from '../usdc.ts'
import { reachChain } from './client.ts'
import { devUsdcAbi, registryAbi } from './contracts.ts'

/** What stands for a name as long as it has an owner. */
export interface Bond {
  readonly token: Address
  readonly amountUsdc: Usdc
}

/** @throws ProtocolError `chain_unreachable` */
export async function readBond(client: PublicClient, registry: Address, signal: AbortSignal): Promise<Bond> {
  const at = { address: registry, abi: registryAbi } as const
  const reading = Promise.all([
    client.readContract({ ...at, functionName: 'bondToken' }),
    client.readContract({ ...at, functionName: 'bond' }),
  ])
  const [token, amount] = await reachChain(reading, 'read the bond', signal)
  return { token, amountUsdc: usdc(amount) }
}

/** What an account has in its wallet, and what `spender` may take of it. @throws ProtocolError `chain_unreachable` */
export async function readWallet(
  client: PublicClient,
  { token, account, spender }: { token: Address; account: Address; spender: Address },
  signal: AbortSignal,
): Promise<{ readonly balance: bigint; readonly allowed: bigint }> {
  const at = { address: token, abi: devUsdcAbi } as const
  const reading = Promise.all([
    client.readContract({ ...at, functionName: 'balanceOf', args: [account] }),
    client.readContract({ ...at, functionName: 'allowance', args: [account, spender] }),
  ])
  const [balance, allowed] = await reachChain(reading, 'read the wallet', signal)
  return { balance, allowed }
}

const at = (registry: Address) => ({ address: registry, abi: registryAbi }) as const

/** When a name expires, in seconds; 0 where nobody owns it. @throws ProtocolError `chain_unreachable` */
export async function readExpiry(
  client: PublicClient,
  { registry, name }: { registry: Address; name: Name },
  signal: AbortSignal,
): Promise<number> {
  const reading = client.readContract({ ...at(registry), functionName: 'expiry', args: [nameNode(name)] })
  return Number(await reachChain(reading, 'read when the name expires', signal))
}

/** When a commitment was made, in seconds; 0 where it was not, or was used. @throws ProtocolError `chain_unreachable` */
export async function readCommittedAt(
  client: PublicClient,
  { registry, commitment }: { registry: Address; commitment: Hex },
  signal: AbortSignal,
): Promise<number> {
  const reading = client.readContract({ ...at(registry), functionName: 'committedAt', args: [commitment] })
  return Number(await reachChain(reading, 'read the commitment', signal))
}

/** From when on anybody may register a name that nobody owns, in seconds. @throws ProtocolError `chain_unreachable` */
export async function readFreeFrom(
  client: PublicClient,
  { registry, name }: { registry: Address; name: Name },
  signal: AbortSignal,
): Promise<number> {
  const reading = client.readContract({ ...at(registry), functionName: 'freeFrom', args: [nameNode(name)] })
  return Number(await reachChain(reading, 'read when the name is free', signal))
}
