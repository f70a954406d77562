import { join } from 'node:path'
import type { HardhatUserConfig } from 'hardhat/config'
import { createHardhatRuntimeEnvironment } from 'hardhat/hre'
import { type Address, createTestClient, http, parseEther } from 'viem'
import { devChainId } from './settings.ts'

/** A chain of its own on this machine: Hardhat's, in this process, answering JSON-RPC on loopback. */
export interface DevChain extends AsyncDisposable {
  readonly rpcUrl: URL
  readonly chainId: number
  /** Gives an account ether for gas. */
  fund(account: Address): Promise<void>
}

/** @param port - 0 takes a free one. */
export async function createDevChain({ port }: { port: number }): Promise<DevChain> {
  const config = {
    networks: {
      market: {
        type: 'edr-simulated' as const,
        chainType: 'l1' as const,
        chainId: devChainId,
        accounts: [],
        // Else each block is a second later than the one before, and busy chains run ahead of everybody's clocks.
        allowBlocksWithSameTimestamp: true,
      },
    },
  } satisfies HardhatUserConfig
  // Hardhat looks for its project from the working directory unless it is told; the market may run anywhere.
  const hre = await createHardhatRuntimeEnvironment(config, {}, join(import.meta.dirname, '..'))
  const server = await hre.network.createServer('market', '127.0.0.1', port)
  const address = await server.listen()
  const rpcUrl = new URL(`http://127.0.0.1:${address.port}`)
  const client = createTestClient({ mode: 'hardhat', transport: http(rpcUrl.href) })
  return {
    rpcUrl,
    chainId: devChainId,
    fund: (account) => client.setBalance({ address: account, value: parseEther('1000') }),
    [Symbol.asyncDispose]: () => server.close(),
  }
}
