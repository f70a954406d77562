import { createServer, type Server } from 'node:http'
import {
  type Address,
  type Hash,
  type Hex,
  type LocalAccount,
  type PublicClient,
  toHex,
  zeroAddress,
} from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { readBounded, utf8 } from '../../protocol/base/bytes.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { type ContractsOnChain, fund, openContractsOnChain } from './contracts-on-chain.ts'

/** A fresh chain in this process with the contracts on it, and a real RPC server before it that can go away. */
export interface TestChain extends ContractsOnChain {
  readonly market: Market
  /** Talks to the RPC server over HTTP. */
  readonly rpc: PublicClient
  readonly rpcUrl: URL
  /** An account with ether, whose key the test has. */
  createAccount(): Promise<LocalAccount>
  /** A payer with `freeUsdc` in the escrow and, with `grant`, an open metered grant. */
  createPayer(freeUsdc: bigint, grant?: TestGrant): Promise<Address>
  approve(payer: Address, grant: TestGrant): Promise<Hash>
  revoke(payer: Address, provider: Address): Promise<Hash>
  reclaim(payer: Address, provider: Address): Promise<Hash>
  balanceOf(account: Address): Promise<bigint>
  /** Remembers this block; what it returns goes back to it, as a re-org would. */
  fork(): Promise<() => Promise<void>>
  /** Blocks only by hand from now on, or at once again. */
  setMining(mode: 'by hand' | 'at once'): Promise<void>
  mine(): Promise<void>
  goOffline(): Promise<void>
  goOnline(): Promise<void>
}

export interface TestGrant {
  readonly provider: Address
  readonly priceUsdc: bigint
  readonly budgetUsdc: bigint
  readonly signer?: Address
  readonly expiry?: number
  readonly noticeHours?: number
}

export async function openTestChain(): Promise<TestChain> {
  const chain = await openContractsOnChain()
  const chainId = await chain.client.getChainId()
  const request = (method: string, params: readonly unknown[]) =>
    chain.client.request({ method, params } as never) as Promise<unknown>
  const server = await createRpcServer(request)
  const send = async (from: Address, functionName: string, args: readonly unknown[]) => {
    const call = { from, to: chain.escrow, abi: escrowAbi, functionName, args } as never
    return (await chain.send(call)).hash
  }

  const made: TestChain = {
    ...chain,
    market: { chainId, escrow: chain.escrow },
    rpcUrl: server.url,
    rpc: createChainClient({ chainId, rpcUrls: [server.url] }),
    async createAccount() {
      const account = privateKeyToAccount(generatePrivateKey())
      await request('hardhat_setBalance', [account.address, toHex(10n ** 24n)])
      return account
    },
    async createPayer(freeUsdc, grant) {
      const { address } = privateKeyToAccount(generatePrivateKey())
      await chain.unlock(address)
      await fund(chain, address, freeUsdc)
      if (grant) await made.approve(address, grant)
      return address
    },
    approve: (payer, { provider, signer = zeroAddress, priceUsdc, budgetUsdc, expiry, noticeHours }) =>
      send(payer, 'approve', [
        {
          provider,
          signer,
          price: Number(priceUsdc),
          budget: budgetUsdc,
          expiry: expiry ?? 4_000_000_000,
          notice: noticeHours ?? 48,
        },
      ]),
    revoke: (payer, provider) => send(payer, 'revoke', [provider]),
    reclaim: (payer, provider) => send(payer, 'reclaim', [provider]),
    balanceOf: (account) =>
      chain.client.readContract({
        address: chain.escrow,
        abi: escrowAbi,
        functionName: 'balanceOf',
        args: [account],
      }),
    async fork() {
      const id = await request('evm_snapshot', [])
      return async () => {
        await request('evm_revert', [id])
      }
    },
    async setMining(mode) {
      await request('evm_setAutomine', [mode === 'at once'])
      if (mode === 'at once') await request('evm_mine', [])
    },
    async mine() {
      await request('evm_mine', [])
    },
    goOffline: server.stop,
    goOnline: server.start,
    async [Symbol.asyncDispose]() {
      await server.stop()
      await chain[Symbol.asyncDispose]()
    },
  }
  return made
}

/** JSON-RPC over HTTP on loopback; after `stop` and `start` it has the same port again. */
async function createRpcServer(request: (method: string, params: readonly unknown[]) => Promise<unknown>) {
  let server: Server | undefined
  let port = 0

  async function answer(body: Uint8Array | undefined): Promise<string> {
    const { id, method, params } = JSON.parse(utf8.decode(body ?? new Uint8Array()))
    const head = { jsonrpc: '2.0', id }
    return request(method, params ?? []).then(
      (result) => JSON.stringify({ ...head, result }),
      (error: unknown) => JSON.stringify({ ...head, error: toRpcError(error) }),
    )
  }

  async function start(): Promise<void> {
    const next = createServer(async (incoming, response) => {
      response.end(await answer(await readBounded(incoming, 2 ** 22)))
    })
    await new Promise<void>((resolve) => next.listen(port, '127.0.0.1', resolve))
    port = (next.address() as { port: number }).port
    server = next
  }

  async function stop(): Promise<void> {
    const last = server
    server = undefined
    if (!last) return
    last.closeAllConnections()
    await new Promise((resolve) => last.close(resolve))
  }

  await start()
  return { url: new URL(`http://127.0.0.1:${port}`), start, stop }
}

/** What the chain said, without what the client here wrapped around it. */
function toRpcError(error: unknown): { code: number; message: string; data: Hex | undefined } {
  let found = { code: -32_603, message: String(error), data: undefined as Hex | undefined }
  for (let part = error; part instanceof Error; part = part.cause) {
    const { code, data } = part as { code?: unknown; data?: unknown }
    found = {
      code: typeof code === 'number' ? code : found.code,
      message: part.message,
      data: typeof data === 'string' ? (data as Hex) : found.data,
    }
  }
  return found
}
