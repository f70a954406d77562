import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Address, getAddress, type Hex, zeroAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { type Clock, systemClock } from '../../protocol/base/clock.ts'
import { createTestLog, type Log } from '../../protocol/base/log.ts'
import type { Grant } from '../../protocol/grant.ts'
import type { OwnerPolicy } from '../../protocol/owner.ts'
import { anyDeployment, type Pass } from '../../protocol/pass.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { delegateReceiptKey } from '../../protocol/receipt-key.ts'
import { usdc } from '../../protocol/usdc.ts'
import type { Claim } from '../../provider/ledger/claim.ts'
import { type Ledger, openLedger, type Reservation } from '../../provider/ledger/ledger.ts'
import { createReceiptSigner, type ReceiptSigner } from '../../provider/ledger/receipt-signer.ts'

/** Parts of which tests about money are made. */

export const never: AbortSignal = new AbortController().signal

export const randomHex = (): Hex => `0x${randomBytes(32).toString('hex')}`

export const addressOf = (number: number): Address => getAddress(`0x${number.toString(16).padStart(40, '0')}`)

export const providerAccount = privateKeyToAccount(`0x${'a11ce'.padStart(64, '0')}`)
export const provider: Address = providerAccount.address
export const payer: Address = addressOf(0xb0b)
export const market = { chainId: 31_337, escrow: addressOf(0xe5c) }
export const deployment: Hex = `0x${'d0'.repeat(32)}`
export const spec: Hex = `0x${'5e'.repeat(32)}`

export const openPolicy: OwnerPolicy = {
  ownerPays: { maxUsdcPerDay: null, maxCallsPerMinute: null },
  origins: 'any',
}

export const grantOf = (changes: Partial<Grant> = {}): Grant => ({
  payer,
  provider,
  signer: zeroAddress,
  spentUsdc: usdc(0n),
  budgetUsdc: usdc(1_000_000n),
  priceUsdc: usdc(1_000n),
  calls: 0,
  expiry: 2 ** 32 - 1,
  noticeHours: 48,
  epoch: 0,
  ...changes,
})

export const passOf = (changes: Partial<Pass> = {}): Pass => ({
  payer,
  providers: [provider],
  deployment: anyDeployment,
  maxPricePerCall: usdc(1_000n),
  maxSpend: usdc(10_000n),
  validAfter: 0,
  validBefore: 2 ** 32 - 1,
  id: `0x${'1d'.repeat(32)}`,
  ...changes,
})

/** A call at 500 base units that the owner pays for. */
export const claimOf = (changes: Partial<Claim> = {}): Claim => ({
  callId: randomHex(),
  payer: { kind: 'owner', address: payer },
  grant: grantOf(),
  deployment,
  spec,
  priceUsdc: usdc(500n),
  policy: openPolicy,
  origin: undefined,
  nowSeconds: 1_700_000_000,
  chainLostSeconds: 0,
  noticeHoursMin: 1,
  payerChoice: 'any',
  ...changes,
})

export const receiptOf = (claim: Claim, changes: Partial<Receipt> = {}): Receipt => ({
  callId: claim.callId,
  programId: `0x${'99'.repeat(32)}`,
  deployment: claim.deployment,
  payer: claim.payer.address,
  provider,
  requestDigest: `0x${'aa'.repeat(32)}`,
  responseDigest: `0x${'bb'.repeat(32)}`,
  status: 200,
  outcome: 'answered',
  priceUsdc: claim.priceUsdc,
  startedAt: 1_700_000_000_123,
  durationMs: 12,
  ...changes,
})

/** A directory that is gone at the end of the test. */
export function createTempDir(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'khachapuri-'))
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
}

export const openTestLedger = (
  dir: string,
  clock: Clock = systemClock,
  log: Log = createTestLog(),
): Promise<Ledger> => openLedger({ clock, log }, { dir, account: providerAccount, market }, never)

/** A signer of receipts with its key, for parts of the journal without its thread. */
export async function createTestSigner(): Promise<ReceiptSigner> {
  const signer = createReceiptSigner(market)
  const key = { provider, ...signer.point, validAfter: 0, validBefore: 2 ** 32 - 1 }
  signer.key = await delegateReceiptKey(key, providerAccount, market)
  return signer
}

/** @throws the refusal. */
export function reserve(ledger: Ledger, claim: Claim): Reservation {
  const result = ledger.reserve(claim)
  if (result.kind === 'refused') throw result.error
  return result.reservation
}

/** Reserves and charges one call. */
export async function chargeCall(ledger: Ledger, changes: Partial<Claim> = {}): Promise<Receipt> {
  const claim = claimOf(changes)
  const receipt = receiptOf(claim)
  await reserve(ledger, claim).charge(receipt)
  return receipt
}
