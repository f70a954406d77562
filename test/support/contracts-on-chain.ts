import { network } from 'hardhat'
import {
  type Abi,
  type Address,
  type ContractFunctionArgs,
  type ContractFunctionName,
  encodeDeployData,
  encodeFunctionData,
  type Hex,
  type PublicClient,
  toHex,
} from 'viem'
import {
  devUsdcAbi,
  devUsdcBytecode,
  escrowAbi,
  escrowBytecode,
  registryAbi,
  registryBytecode,
} from '../../protocol/chain/contracts.ts'
import type { Name } from '../../protocol/name.ts'
import { registrationCommitment, registrationRules } from '../../protocol/registration.ts'

/** A fresh chain inside this process, with the token and the escrow on it. */
export interface ContractsOnChain extends AsyncDisposable {
  readonly client: PublicClient
  readonly usdc: Address
  readonly escrow: Address
  /** Gives an account what gas costs and lets it send; nobody needs its key. */
  unlock(account: Address): Promise<void>
  /** Deploys a contract from the first account of the chain. */
  deploy(creationCode: Hex): Promise<Address>
  /** Sends one transaction, in a block of its own. @returns its gas, all in. @throws if it reverted */
  send<A extends Abi, F extends ContractFunctionName<A, 'nonpayable'>>(
    call: SentCall<A, F>,
  ): Promise<{ gasUsed: bigint; hash: Hex }>
  /** As `send`, of a call that is encoded already. */
  sendCall(
    from: Address,
    call: { to: Address | undefined; data: Hex },
  ): Promise<{ gasUsed: bigint; hash: Hex }>
  /** Mines a block `seconds` later. */
  wait(seconds: number): Promise<void>
}

export interface SentCall<A extends Abi, F extends ContractFunctionName<A, 'nonpayable'>> {
  readonly from: Address
  readonly to: Address
  readonly abi: A
  readonly functionName: F
  readonly args: ContractFunctionArgs<A, 'nonpayable', F>
}

/** No transaction may need more (EIP-7825). */
export const transactionGasMax = 2n ** 24n

export async function openContractsOnChain(): Promise<ContractsOnChain> {
  const connection = await network.create()
  const { provider, viem } = connection
  const client = (await viem.getPublicClient()) as PublicClient
  const [deployer] = (await provider.request({ method: 'eth_accounts' })) as Address[]

  const transact = async (from: Address | undefined, to: Address | undefined, data: Hex) => {
    const transaction = { from, to, data, gas: toHex(transactionGasMax) }
    const hash = (await provider.request({ method: 'eth_sendTransaction', params: [transaction] })) as Hex
    return client.getTransactionReceipt({ hash })
  }
  const deploy = async (creationCode: Hex): Promise<Address> => {
    const { contractAddress } = await transact(deployer, undefined, creationCode)
    return contractAddress as Address
  }

  const usdc = await deploy(devUsdcBytecode)
  const escrow = await deploy(encodeDeployData({ abi: escrowAbi, bytecode: escrowBytecode, args: [usdc] }))

  return {
    client,
    usdc,
    escrow,
    deploy,
    async unlock(account) {
      await provider.request({ method: 'hardhat_impersonateAccount', params: [account] })
      await provider.request({ method: 'hardhat_setBalance', params: [account, toHex(10n ** 24n)] })
    },
    async send({ from, to, ...call }) {
      const { gasUsed, transactionHash } = await transact(
        from,
        to,
        encodeFunctionData(call as Parameters<typeof encodeFunctionData>[0]),
      )
      return { gasUsed, hash: transactionHash }
    },
    async sendCall(from, { to, data }) {
      const { gasUsed, transactionHash } = await transact(from, to, data)
      return { gasUsed, hash: transactionHash }
    },
    async wait(seconds) {
      await provider.request({ method: 'evm_increaseTime', params: [seconds] })
      await provider.request({ method: 'evm_mine', params: [] })
    },
    [Symbol.asyncDispose]: () => connection.close(),
  }
}

/** Puts a registry on the chain, whose names take this bond. */
export function deployRegistry(chain: ContractsOnChain, bondUsdc = 0n): Promise<Address> {
  return chain.deploy(
    encodeDeployData({ abi: registryAbi, bytecode: registryBytecode, args: [chain.usdc, bondUsdc] }),
  )
}

/** Registers a name for an unlocked account, a minute of the chain's time after committing to it. */
export async function registerOnChain(
  chain: ContractsOnChain,
  { registry, name, owner, resolver }: { registry: Address; name: Name; owner: Address; resolver: Address },
): Promise<void> {
  const durationSeconds = registrationRules.durationMin
  const secret = toHex(1n, { size: 32 })
  const terms = { name, owner, resolver, durationSeconds, secret }
  const chainId = await chain.client.getChainId()
  const to = { from: owner, to: registry, abi: registryAbi } as const
  const commitment = registrationCommitment(terms, { chainId, registry })
  await chain.send({ ...to, functionName: 'commit', args: [commitment] })
  await chain.wait(registrationRules.commitmentAgeMin)
  await chain.send({
    ...to,
    functionName: 'register',
    args: [name, owner, resolver, BigInt(durationSeconds), secret],
  })
}

/** Gives `payer` free balance: mints, approves at the token, deposits. */
export async function fund(chain: ContractsOnChain, payer: Address, amountUsdc: bigint): Promise<void> {
  const token = { from: payer, to: chain.usdc, abi: devUsdcAbi } as const
  await chain.send({ ...token, functionName: 'mint', args: [payer, amountUsdc] })
  await chain.send({ ...token, functionName: 'approve', args: [chain.escrow, amountUsdc] })
  await chain.send({
    from: payer,
    to: chain.escrow,
    abi: escrowAbi,
    functionName: 'deposit',
    args: [amountUsdc],
  })
}
