import { ProtocolError } from './errors.ts'

/** Chains of development tools, Hardhat's, Anvil's and Ganache's: blocks come at once, and nothing on them has a value. */
const devChainIds: ReadonlySet<number> = new Set([31_337, 1_337])

export const isDevChain = ({ chainId }: { readonly chainId: number }): boolean => devChainIds.has(chainId)

/** Misbehaving on purpose is for chains without money. @throws ProtocolError `fault_refused` */
export function assertFaultAllowed(chainId: number): void {
  if (isDevChain({ chainId })) return
  throw new ProtocolError('fault_refused', `Faults are refused on chain ${chainId}.`, {
    hint: 'Inject faults on a development chain, such as that of "npm start".',
  })
}
