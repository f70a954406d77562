import { limits } from '../../protocol/limits.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'

/** When a settlement may wait, because gas would take too much of it. */
export interface FeeLimit {
  /** Of the value that is settled, in hundredths. */
  readonly percentMax: number
  /** What an ether is worth to the provider: it pays gas in one and is paid in the other. No chain is asked for this. */
  readonly etherPriceUsdc: Usdc
}

export interface SettlementFacts {
  readonly valueUsdc: Usdc
  readonly rows: number
  readonly gasPriceWei: bigint
}

export interface Worth {
  readonly isWorthIt: boolean
  /** Of the execution, rounded up; what a rollup adds for data is not in it. */
  readonly feeUsdc: Usdc
}

/** Whether what a settlement costs is a small enough part of what it brings. */
export function decideWorth(
  { valueUsdc, rows, gasPriceWei }: SettlementFacts,
  { percentMax, etherPriceUsdc }: FeeLimit,
): Worth {
  const gas = BigInt(limits.settleGas + rows * limits.settleRowGas)
  const feeUsdc = usdc((gas * gasPriceWei * etherPriceUsdc + weiPerEther - 1n) / weiPerEther)
  return { isWorthIt: feeUsdc * 100n <= valueUsdc * BigInt(percentMax), feeUsdc }
}

const weiPerEther = 10n ** 18n
