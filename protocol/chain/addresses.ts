import type { Address } from 'viem'

/** A chain of which this network knows the one USDC that Circle issues there itself. */
export interface KnownChain {
  readonly name: string
  readonly usdc: Address
}

/** By chain id; the tokens are those that Circle lists (developers.circle.com, "USDC contract addresses"). */
export const knownChains: Readonly<Record<number, KnownChain>> = {
  8453: { name: 'Base', usdc: '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913' },
  84532: { name: 'Base Sepolia', usdc: '0x036CbD53842c5426634e7929541eC2318f3dCF7e' },
}
