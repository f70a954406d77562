import type { Address, Hex } from 'viem'
import { assert } from './base/assert.ts'
import { limits } from './limits.ts'
import type { Usdc } from './usdc.ts'

/** What one payer owes a provider since its grant exists. Cumulative, so sending it twice pays once. */
export interface SettleRow {
  readonly payer: Address
  readonly amountUsdc: Usdc
  readonly calls: number
}

/** Rows as `Escrow.settle` reads them: payer 20 bytes, amount 8, calls 4, big endian, one after the other. */
export function encodeSettleRows(rows: readonly SettleRow[]): Hex {
  assert(rows.length <= limits.settleRowsMax, 'a settlement fits one transaction')
  const bytes = Buffer.alloc(rows.length * 32)
  rows.forEach(({ payer, amountUsdc, calls }, index) => {
    const at = index * 32
    bytes.write(payer.slice(2), at, 20, 'hex')
    bytes.writeBigUInt64BE(amountUsdc, at + 20)
    bytes.writeUInt32BE(calls, at + 28)
  })
  return `0x${bytes.toString('hex')}`
}
