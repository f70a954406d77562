import { assert } from './base/assert.ts'
import type { Brand } from './base/brand.ts'
import { ProtocolError } from './errors.ts'

/** An amount of USDC in base units (6 decimals), 0 … 2^64 − 1: what the escrow's `uint64` holds. */
export type Usdc = Brand<bigint, 'Usdc'>

const decimals = 6
const amountUsdcMax = 2n ** 64n - 1n

/** Vouches for an amount that the code itself made. @throws InvariantError outside 0 … 2^64 − 1. */
export function usdc(baseUnits: bigint): Usdc {
  assert(baseUnits >= 0n && baseUnits <= amountUsdcMax, 'an amount of USDC fits 64 bits')
  return baseUnits as Usdc
}

export const zeroUsdc = usdc(0n)

/**
 * Reads an amount that a person typed, such as `0.25`, `12` or `0.10 USDC`.
 *
 * Exact by construction: more than six decimals is an error rather than a rounding.
 *
 * @throws ProtocolError `usage_invalid`
 */
export function parseUsdc(text: string): Usdc {
  const match = /^(\d{1,20})(?:\.(\d{1,6}))?(?: ?USDC)?$/i.exec(text.trim())
  const [, whole = '', fraction = ''] = match ?? []
  const baseUnits = BigInt(whole + fraction.padEnd(decimals, '0'))
  if (!match || baseUnits > amountUsdcMax) {
    throw new ProtocolError('usage_invalid', `"${text.slice(0, 40)}" is not an amount of USDC.`, {
      hint: 'Write it as in 12 or 0.25, with at most six decimals.',
    })
  }
  return usdc(baseUnits)
}

/** Writes an amount for people: `0.25`, `12`, `0.0005`. */
export function formatUsdc(amount: Usdc): string {
  const digits = amount.toString().padStart(decimals + 1, '0')
  const fraction = digits.slice(-decimals).replace(/0+$/, '')
  return digits.slice(0, -decimals) + (fraction && `.${fraction}`)
}

/** Reads base units from JSON, where an amount is a decimal string. @returns undefined for anything else. */
export function usdcFromJson(value: unknown): Usdc | undefined {
  if (typeof value !== 'string' || !/^(0|[1-9]\d{0,19})$/.test(value)) return undefined
  const baseUnits = BigInt(value)
  return baseUnits <= amountUsdcMax ? usdc(baseUnits) : undefined
}

export const addUsdc = (a: Usdc, b: Usdc): Usdc => usdc(a + b)

/** `a - b`, or undefined where `b` is more than `a`: running out of money is an answer, not a crash. */
export const subtractUsdc = (a: Usdc, b: Usdc): Usdc | undefined => (a < b ? undefined : usdc(a - b))

/** @param count - A whole number of calls. */
export const multiplyUsdc = (amount: Usdc, count: number): Usdc => usdc(amount * BigInt(count))

export function maxUsdc(a: Usdc, b: Usdc): Usdc {
  if (a > b) return a
  return b
}

export function minUsdc(a: Usdc, b: Usdc): Usdc {
  if (a < b) return a
  return b
}
