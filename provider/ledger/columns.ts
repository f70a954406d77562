import { type Address, getAddress, type Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'

/** How values lie in SQLite's columns: hex as bytes, amounts as the signed twin of their 64 bits. */

export const bytesOf = (hex: Hex): Uint8Array => Buffer.from(hex.slice(2), 'hex')

export const hexOf = (value: unknown): Hex => toHex(value as Uint8Array)

export const addressOf = (value: unknown): Address => getAddress(hexOf(value))

export const integerOf = (amount: Usdc): bigint => BigInt.asIntN(64, amount)

export const usdcOf = (value: unknown): Usdc => usdc(BigInt.asUintN(64, value as bigint))
