import { type Address, type Hex, numberToHex, type PublicClient, type RpcLog } from 'viem'

export interface LogQuery {
  readonly address: Address
  readonly topics: readonly (Hex | readonly Hex[] | null)[]
  readonly fromBlock: bigint
  readonly toBlock: bigint
}

/**
 * The logs of one contract in a range of blocks, in the order of the chain. A server that answers another question must
 * move no money: logs of other contracts, of other blocks, and those that a re-org took away are left out.
 */
export async function readLogs(client: PublicClient, query: LogQuery): Promise<RpcLog[]> {
  const { address, topics, fromBlock, toBlock } = query
  const filter = {
    address,
    fromBlock: numberToHex(fromBlock),
    toBlock: numberToHex(toBlock),
    topics: topics as (Hex | Hex[] | null)[],
  }
  const logs = await client.request({ method: 'eth_getLogs', params: [filter] })
  return logs
    .filter((log) => !log.removed && log.address.toLowerCase() === address.toLowerCase())
    .filter(
      ({ blockNumber }) => BigInt(blockNumber ?? -1) >= fromBlock && BigInt(blockNumber ?? -1) <= toBlock,
    )
    .sort((a, b) => place(a.blockNumber, b.blockNumber) || place(a.logIndex, b.logIndex))
}

const place = (a: Hex | null, b: Hex | null) => Number(BigInt(a ?? 0) - BigInt(b ?? 0))
