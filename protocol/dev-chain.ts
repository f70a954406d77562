/** Chains of development tools, Hardhat's, Anvil's and Ganache's: blocks come at once, and nothing on them has a value. */
const devChainIds: ReadonlySet<number> = new Set([31_337, 1_337])

export const isDevChain = ({ chainId }: { readonly chainId: number }): boolean => devChainIds.has(chainId)
