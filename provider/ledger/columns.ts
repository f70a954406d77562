import type { Address, Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import { type Usdc, usdc } from '../../protocol/usdc.ts'

/**
 * How values lie in SQLite's columns: hex as bytes, amounts as the signed twin of their 64 bits, addresses as their
 * checksummed text. The worker that uses this starts in a few milliseconds because nothing here needs viem to run.
 */

export const bytesOf = (hex: Hex): Uint8Array => Buffer.from(hex.slice(2), 'hex')

export const hexOf = (value: unknown): Hex => toHex(value as Uint8Array)

/** It was checksummed when it was stored. */
export const addressOf = (value: unknown): Address => value as Address

export const integerOf = (amount: Usdc): bigint => BigInt.asIntN(64, amount)

export const usdcOf = (value: unknown): Usdc => usdc(BigInt.asUintN(64, value as bigint))
