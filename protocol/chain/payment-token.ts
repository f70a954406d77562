import {
  type Address,
  domainSeparator,
  type Hash,
  type Hex,
  isAddressEqual,
  type PublicClient,
  parseEventLogs,
  type TransactionReceipt,
  zeroAddress,
} from 'viem'
import { limits } from '../limits.ts'
import { type Usdc, usdc } from '../usdc.ts'
import {
  type Authorization,
  hashAuthorization,
  recoverAuthorizationSigner,
  type Token,
  tokenDomain,
} from '../x402.ts'
import { type ChainCall, usdcCalls } from './calls.ts'
import { reachChain } from './client.ts'
import { readContractSignature } from './contract-signature.ts'
import { devUsdcAbi, escrowAbi } from './contracts.ts'
import { isRefusal, readIfThere } from './read-if-there.ts'
import { readReceipt } from './transaction-fate.ts'

/** What the chain says about payments by authorization. Every method that takes a signal is a round or two of requests, with a time limit. */
export interface PaymentToken {
  readonly token: Token
  readonly chainId: number
  /** What takes the money. */
  takeCall(authorization: Authorization, signature: Hex): Promise<ChainCall>
  /** Whether the payer's contract takes the signature (ERC-1271); false where the payer has none. */
  isSignedByContract(authorization: Authorization, signature: Hex, signal: AbortSignal): Promise<boolean>
  /** What the payer has, and whether the transfer would go through now. */
  simulate(authorization: Authorization, signature: Hex, signal: AbortSignal): Promise<Simulation>
  readStanding(authorization: Authorization, signal: AbortSignal): Promise<Standing>
  /** What used an authorization up, from a block on; undefined where no log says it. */
  findUse(authorization: Authorization, fromBlock: bigint, signal: AbortSignal): Promise<Use | undefined>
  /** The block in which this transaction moves the money now; undefined where it is in none, or does not. */
  findTransfer(
    authorization: Authorization,
    transaction: Hash,
    signal: AbortSignal,
  ): Promise<bigint | undefined>
}

export interface Simulation {
  readonly balanceUsdc: Usdc
  readonly wouldPass: boolean
}

export interface Standing {
  readonly balanceUsdc: Usdc
  readonly isUsed: boolean
  /** Of the newest block, in seconds: what the token compares the window with. */
  readonly timestamp: number
}

export interface Use {
  /** `cancelled` also where the same nonce paid something else: this authorization can never be used any more. */
  readonly kind: 'transferred' | 'cancelled'
  readonly transaction: Hash
  readonly blockNumber: bigint
}

/**
 * Reads what the escrow's token calls itself, and holds it to that: a signature for another domain would move nothing.
 *
 * @returns undefined where the token does not know EIP-3009, or not by that name
 * @throws ProtocolError `chain_unreachable`
 */
export async function readPaymentToken(
  client: PublicClient,
  { chainId, escrow }: { chainId: number; escrow: Address },
  signal: AbortSignal,
): Promise<PaymentToken | undefined> {
  const read = { address: escrow, abi: escrowAbi, functionName: 'token' } as const
  const address = await reachChain(client.readContract(read), 'read the token', signal)
  const ask = { address, abi: devUsdcAbi } as const
  const found = await readIfThere(
    () =>
      Promise.all([
        client.readContract({ ...ask, functionName: 'name' }),
        client.readContract({ ...ask, functionName: 'version' }),
        client.readContract({ ...ask, functionName: 'DOMAIN_SEPARATOR' }),
        client.readContract({
          ...ask,
          functionName: 'authorizationState',
          args: [zeroAddress, `0x${'00'.repeat(32)}`],
        }),
      ]),
    'read the token',
    signal,
  )
  if (!found) return undefined
  const [name, version, separator] = found
  const token: Token = { address, name, version }
  const isOurs = separator === domainSeparator({ domain: tokenDomain({ chainId, token }) })
  return isOurs ? createPaymentToken(client, { chainId, token }) : undefined
}

function createPaymentToken(
  client: PublicClient,
  { chainId, token }: { chainId: number; token: Token },
): PaymentToken {
  const ask = { address: token.address, abi: devUsdcAbi } as const
  const readBalance = (account: Address) =>
    client.readContract({ ...ask, functionName: 'balanceOf', args: [account] })

  async function takeCall(authorization: Authorization, signature: Hex): Promise<ChainCall> {
    const signer = await recoverAuthorizationSigner(authorization, signature, { chainId, token })
    const signedBy = signer === authorization.from ? 'key' : 'contract'
    return usdcCalls(token.address).transferWithAuthorization(authorization, { signature, signedBy })
  }

  /**
   * Whether a transaction moved the money of this authorization. A payer can sign two with one nonce, and use it up by the
   * other one: only the transfer that follows says what was paid, and to whom.
   */
  function hasMoved({ logs }: TransactionReceipt, { from, to, valueUsdc, nonce }: Authorization): boolean {
    const events = parseEventLogs({
      abi: devUsdcAbi,
      logs: logs.filter((log) => isAddressEqual(log.address, token.address)),
      eventName: ['AuthorizationUsed', 'Transfer'],
    })
    const used = events.findIndex(
      ({ eventName, args }) =>
        eventName === 'AuthorizationUsed' &&
        isAddressEqual(args.authorizer, from) &&
        args.nonce.toLowerCase() === nonce.toLowerCase(),
    )
    const moved = used < 0 ? undefined : events[used + 1]
    return (
      moved?.eventName === 'Transfer' &&
      isAddressEqual(moved.args.from, from) &&
      isAddressEqual(moved.args.to, to) &&
      moved.args.value === valueUsdc
    )
  }

  return {
    token,
    chainId,
    takeCall,
    async isSignedByContract(authorization, signature, signal) {
      const hash = hashAuthorization(authorization, { chainId, token })
      return readContractSignature(client, { address: authorization.from, hash, signature }, signal)
    },

    async simulate(authorization, signature, signal) {
      const { to, data } = await takeCall(authorization, signature)
      const [balance, wouldPass] = await Promise.all([
        reachChain(readBalance(authorization.from), 'read a balance', signal),
        reachChain(
          client.call({ account: authorization.to, to: to as Address, data, gas: limits.x402ContractGasMax }),
          'try a payment',
          signal,
        ).then(
          () => true,
          (error: unknown) => {
            if (isRefusal(error)) return false
            throw error
          },
        ),
      ])
      return { balanceUsdc: boundUsdc(balance), wouldPass }
    },

    async readStanding({ from, nonce }, signal) {
      const request = { ...ask, functionName: 'authorizationState', args: [from, nonce] } as const
      const [balance, isUsed, block] = await reachChain(
        Promise.all([readBalance(from), client.readContract(request), client.getBlock()]),
        'look at a payment',
        signal,
      )
      return { balanceUsdc: boundUsdc(balance), isUsed, timestamp: Number(block.timestamp) }
    },

    async findTransfer(authorization, transaction, signal) {
      const receipt = await reachChain(readReceipt(client, transaction), 'look for a payment', signal)
      return receipt && hasMoved(receipt, authorization) ? receipt.blockNumber : undefined
    },

    async findUse(authorization, fromBlock, signal) {
      const { from: authorizer, nonce } = authorization
      const newest = await reachChain(client.getBlockNumber(), 'find a payment', signal)
      for (let block = fromBlock; block <= newest; block += rangeBlocks) {
        const last = block + rangeBlocks - 1n
        const range = { fromBlock: block, toBlock: last < newest ? last : newest }
        const args = { authorizer, nonce }
        const find = (eventName: 'AuthorizationUsed' | 'AuthorizationCanceled') =>
          client.getContractEvents({ ...ask, ...range, eventName, args })
        const [used, cancelled] = await reachChain(
          Promise.all([find('AuthorizationUsed'), find('AuthorizationCanceled')]),
          'find a payment',
          signal,
        )
        if (used[0]) {
          const hash = used[0].transactionHash
          const receipt = await reachChain(readReceipt(client, hash), 'find a payment', signal)
          return receipt && useOf(hasMoved(receipt, authorization) ? 'transferred' : 'cancelled', used[0])
        }
        if (cancelled[0]) return useOf('cancelled', cancelled[0])
      }
      return undefined
    },
  }
}

const useOf = (
  kind: Use['kind'],
  { transactionHash, blockNumber }: { transactionHash: Hash; blockNumber: bigint },
): Use => ({ kind, transaction: transactionHash, blockNumber })

const rangeBlocks = BigInt(limits.logRangeBlocksMax)

/** Anybody may be richer than 64 bits say; no call costs as much. */
const boundUsdc = (amount: bigint): Usdc =>
  usdc(BigInt.asUintN(64, amount) === amount ? amount : 2n ** 64n - 1n)
