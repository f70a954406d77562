import { type Address, concat, encodeDeployData, getContractAddress, type Hex, zeroHash } from 'viem'
import type { Usdc } from '../usdc.ts'
import type { ChainCall } from './calls.ts'
import { devUsdcBytecode, escrowAbi, escrowBytecode, registryAbi, registryBytecode } from './contracts.ts'

/**
 * A contract whose address follows from its code alone: whoever makes it, whenever, on whatever chain, it is there or
 * nowhere. The constructor's arguments are part of the code, so the escrow's address depends on the token: it is the same
 * on every chain where USDC has the same address, and known beforehand on every other.
 */
export interface PlannedContract {
  readonly name: 'usdc' | 'escrow' | 'registry'
  readonly address: Address
  /** Makes it; the chain refuses where it is there already. */
  readonly call: ChainCall
}

/** What anybody may send a salt and code to, and has the code made into a contract. */
export const create2Proxy: Address = '0x4e59b44847b379578588920cA78FbF26c0B4956C'

/**
 * The proxy's own deployment, signed by nobody's key for every chain (github.com/Arachnid/deterministic-deployment-proxy).
 * It costs `gasWei`, which its signer must have.
 */
export const create2ProxyDeployment = {
  signer: '0x3fAB184622Dc19b6109349B94811493BF2a45362',
  gasWei: 100_000n * 100n * 10n ** 9n,
  raw: '0xf8a58085174876e800830186a08080b853604580600e600039806000f350fe7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf31ba02222222222222222222222222222222222222222222222222222222222222222a02222222222222222222222222222222222222222222222222222222222222222',
} as const satisfies { signer: Address; gasWei: bigint; raw: Hex }

/** The escrow and the registry of a token. The bond is part of the registry's code, as the token is. */
export function planContracts({ usdc, bondUsdc }: { usdc: Address; bondUsdc: Usdc }): PlannedContract[] {
  const escrow = encodeDeployData({ abi: escrowAbi, bytecode: escrowBytecode, args: [usdc] })
  const registry = encodeDeployData({
    abi: registryAbi,
    bytecode: registryBytecode,
    args: [usdc, bondUsdc],
  })
  return [plan('escrow', escrow), plan('registry', registry)]
}

/** A USDC that anybody may make, for chains on which nothing has a value. */
export const planDevUsdc = (): PlannedContract => plan('usdc', devUsdcBytecode)

function plan(name: PlannedContract['name'], creationCode: Hex): PlannedContract {
  const from = create2Proxy
  return {
    name,
    address: getContractAddress({ opcode: 'CREATE2', from, salt: zeroHash, bytecode: creationCode }),
    call: { label: `make the ${name}`, to: from, data: concat([zeroHash, creationCode]) },
  }
}
