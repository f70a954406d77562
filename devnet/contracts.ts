import {
  type Address,
  encodeDeployData,
  getAddress,
  type LocalAccount,
  type PublicClient,
  zeroAddress,
} from 'viem'
import { assert } from '../protocol/base/assert.ts'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { type ChainCall, escrowCalls, usdcCalls } from '../protocol/chain/calls.ts'
import {
  devUsdcBytecode,
  escrowAbi,
  escrowBytecode,
  registryAbi,
  registryBytecode,
  universalResolverAbi,
  universalResolverBytecode,
} from '../protocol/chain/contracts.ts'
import { createMemoryTransactionStore } from '../protocol/chain/transaction-record.ts'
import { createTransactionSender, type TransactionSender } from '../protocol/chain/transaction-sender.ts'
import { parseUsdc, type Usdc } from '../protocol/usdc.ts'

/** The contracts of a market. */
export interface Contracts {
  readonly chainId: number
  readonly usdc: Address
  readonly escrow: Address
  readonly registry: Address
  /** By its address ENS clients read names: viem's `universalResolverAddress`. */
  readonly universalResolver: Address
}

export interface ChainDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
}

/** Sends for one account of the dev market, whose chain ends with the process: nothing needs to survive. */
export function createSender(deps: ChainDeps, account: LocalAccount, chainId: number): TransactionSender {
  const store = createMemoryTransactionStore()
  return createTransactionSender({ ...deps, store }, { account, chainId, open: [], pollIntervalMs: 20 })
}

/** Puts token, escrow, registry and universal resolver on the chain. */
export async function deployContracts(
  sender: TransactionSender,
  chainId: number,
  signal: AbortSignal,
): Promise<Contracts> {
  const deploy = async (label: string, data: ChainCall['data']): Promise<Address> => {
    const { contractAddress } = await sender.run({ label, to: undefined, data }, signal)
    assert(contractAddress, 'a transaction that makes a contract has its address')
    return getAddress(contractAddress)
  }
  const usdc = await deploy('make the token', devUsdcBytecode)
  const escrowData = encodeDeployData({ abi: escrowAbi, bytecode: escrowBytecode, args: [usdc] })
  const escrow = await deploy('make the escrow', escrowData)
  const registryData = encodeDeployData({
    abi: registryAbi,
    bytecode: registryBytecode,
    args: [usdc, bondUsdc],
  })
  const registry = await deploy('make the registry', registryData)
  const universalData = encodeDeployData({
    abi: universalResolverAbi,
    bytecode: universalResolverBytecode,
    args: [registry],
  })
  const universalResolver = await deploy('make the universal resolver', universalData)
  return { chainId, usdc, escrow, registry, universalResolver }
}

/** What stands for each name of a development market. */
const bondUsdc = parseUsdc('5')

/** Gives an account what the bond of `names` names takes. */
export async function endowNames(
  sender: TransactionSender,
  { usdc }: Contracts,
  { account, names = 1 }: { account: Address; names?: number },
  signal: AbortSignal,
): Promise<void> {
  await sender.run(usdcCalls(usdc).mint(account, (bondUsdc * BigInt(names)) as Usdc), signal)
}

export interface Endowment {
  /** Minted to the account. */
  readonly mintedUsdc: Usdc
  /** Of it, moved into the escrow. */
  readonly depositedUsdc: Usdc
  /** Of that, reserved for each of these providers. */
  readonly grants: readonly {
    readonly provider: Address
    readonly priceUsdc: Usdc
    readonly budgetUsdc: Usdc
    /** Who signs vouchers for it; left out for metered use. */
    readonly signer?: Address
  }[]
}

const grantSeconds = 365 * 24 * 3600
const noticeHours = 48

/** Gives an account money, some of it in the escrow, some of that reserved for providers. */
export async function endow(
  sender: TransactionSender,
  { usdc, escrow }: Contracts,
  { mintedUsdc, depositedUsdc, grants }: Endowment,
  { nowMs, signal }: { nowMs: number; signal: AbortSignal },
): Promise<void> {
  await sender.run(usdcCalls(usdc).mint(sender.address, mintedUsdc), signal)
  await sender.run(usdcCalls(usdc).approve(escrow, depositedUsdc), signal)
  await sender.run(escrowCalls(escrow).deposit(depositedUsdc), signal)
  const expiry = Math.floor(nowMs / 1000) + grantSeconds
  for (const grant of grants) {
    await sender.run(
      escrowCalls(escrow).approve({ signer: zeroAddress, ...grant, expiry, noticeHours }),
      signal,
    )
  }
}
