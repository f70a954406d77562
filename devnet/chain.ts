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

export interface DevChainOptions {
  /** 0 takes a free one. */
  readonly port: number
  /**
   * How far its clock is behind everybody's. Each registration of a name uses up a minute of it (see
   * `createDevChainTime`). Payments that are signed to hold from ten minutes ago on must hold here, too.
   */
  readonly secondsBehind?: number
}

const secondsBehindDefault = 9 * 60

export async function createDevChain({
  port,
  secondsBehind = secondsBehindDefault,
}: DevChainOptions): Promise<DevChain> {
  const config = {
    networks: {
      market: {
        type: 'edr-simulated' as const,
        chainType: 'l1' as const,
        chainId: devChainId,
        accounts: [],
        initialDate: new Date(Date.now() - secondsBehind * 1_000),
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
