import {
  type Address,
  compactSignatureToSignature,
  getAddress,
  type Hex,
  parseCompactSignature,
  parseSignature,
  serializeCompactSignature,
  serializeSignature,
  signatureToCompactSignature,
  size,
} from 'viem'
import { assert } from './base/assert.ts'
import { limits } from './limits.ts'
import { type Usdc, usdc } from './usdc.ts'
import type { Voucher } from './voucher.ts'

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

/** The inverse of `encodeSettleRows`. @returns undefined where the escrow would take nothing of it */
export const decodeSettleRows = (rows: Hex): SettleRow[] | undefined =>
  cutRows(rows, 32, (row) => ({
    payer: addressAt(row, 0),
    amountUsdc: usdc(row.readBigUInt64BE(20)),
    calls: row.readUInt32BE(28),
  }))

/** How many trial calls one user has made in all. Cumulative, so sending it twice counts once. */
export interface CreditsRow {
  readonly user: Address
  readonly calls: number
}

/** Rows as `Escrow.useCredits` reads them: user 20 bytes, calls 12, big endian, one after the other. */
export function encodeCreditsRows(rows: readonly CreditsRow[]): Hex {
  assert(rows.length <= limits.settleRowsMax, 'a settlement fits one transaction')
  const bytes = Buffer.alloc(rows.length * 32)
  rows.forEach(({ user, calls }, index) => {
    bytes.write(user.slice(2), index * 32, 20, 'hex')
    bytes.writeBigUInt64BE(BigInt(calls), index * 32 + 24)
  })
  return `0x${bytes.toString('hex')}`
}

/** The inverse of `encodeCreditsRows`, without rows that count more calls than anybody has. */
export const decodeCreditsRows = (rows: Hex): CreditsRow[] | undefined =>
  cutRows(rows, 32, (row) => {
    const calls = BigInt(`0x${row.toString('hex', 20)}`)
    return calls > Number.MAX_SAFE_INTEGER ? undefined : { user: addressAt(row, 0), calls: Number(calls) }
  })

/** What a provider claims of one voucher. Cumulative, like the voucher, so sending it twice pays once. */
export interface RedeemRow {
  readonly voucher: Pick<Voucher, 'payer' | 'maxAmount' | 'maxCalls' | 'epoch'>
  /** At most the voucher's `maxAmount`. */
  readonly amountUsdc: Usdc
  /** At most the voucher's `maxCalls`. */
  readonly calls: number
  /** 65 bytes, as `signVoucher` makes them, or 64 (EIP-2098). */
  readonly signature: Hex
}

const redeemRowBytes = 109

/**
 * Rows as `Escrow.redeem` reads them, big endian, one after the other: payer 20 bytes, amount 8, maxAmount 8, calls 4,
 * maxCalls 4, epoch 1, and the signature in 64.
 */
export function encodeRedeemRows(rows: readonly RedeemRow[]): Hex {
  assert(rows.length <= limits.redeemRowsMax, 'a settlement fits one transaction')
  const bytes = Buffer.alloc(rows.length * redeemRowBytes)
  rows.forEach(({ voucher, amountUsdc, calls, signature }, index) => {
    const at = index * redeemRowBytes
    bytes.write(voucher.payer.slice(2), at, 20, 'hex')
    bytes.writeBigUInt64BE(amountUsdc, at + 20)
    bytes.writeBigUInt64BE(voucher.maxAmount, at + 28)
    bytes.writeUInt32BE(calls, at + 36)
    bytes.writeUInt32BE(voucher.maxCalls, at + 40)
    bytes.writeUInt8(voucher.epoch, at + 44)
    bytes.write(compactSignature(signature).slice(2), at + 45, 64, 'hex')
  })
  return `0x${bytes.toString('hex')}`
}

/** The inverse of `encodeRedeemRows`, with signatures of 65 bytes. Who signed them is not looked at. */
export const decodeRedeemRows = (rows: Hex): RedeemRow[] | undefined =>
  cutRows(rows, redeemRowBytes, (row) => {
    const signature = compactSignatureToSignature(parseCompactSignature(`0x${row.toString('hex', 45)}`))
    return {
      voucher: {
        payer: addressAt(row, 0),
        maxAmount: usdc(row.readBigUInt64BE(28)),
        maxCalls: row.readUInt32BE(40),
        epoch: row.readUInt8(44),
      },
      amountUsdc: usdc(row.readBigUInt64BE(20)),
      calls: row.readUInt32BE(36),
      signature: serializeSignature(signature),
    }
  })

/** EIP-2098: the parity of the signature moves into the free highest bit of `s`. */
function compactSignature(signature: Hex): Hex {
  if (size(signature) === 64) return signature
  return serializeCompactSignature(signatureToCompactSignature(parseSignature(signature)))
}

const addressAt = (row: Buffer, at: number): Address => getAddress(`0x${row.toString('hex', at, at + 20)}`)

function cutRows<T>(rows: Hex, bytesPerRow: number, read: (row: Buffer) => T | undefined): T[] | undefined {
  const bytes = Buffer.from(rows.slice(2), 'hex')
  if (bytes.length === 0 || bytes.length % bytesPerRow !== 0) return undefined
  const found: T[] = []
  for (let at = 0; at < bytes.length; at += bytesPerRow) {
    const row = read(bytes.subarray(at, at + bytesPerRow))
    if (row !== undefined) found.push(row)
  }
  return found
}
