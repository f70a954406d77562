import { randomUUID } from 'node:crypto'
import type { Hex } from 'viem'
import type { Clock } from './base/clock.ts'
import { callHeaders } from './call.ts'
import { type Problem, ProtocolError } from './errors.ts'
import type { Grant } from './grant.ts'
import { limits } from './limits.ts'
import type { Market } from './typed-data.ts'
import { type Usdc, usdcFromJson } from './usdc.ts'
import {
  assertVoucherSigned,
  type Correction,
  parseCorrection,
  type SignedVoucher,
  type Voucher,
} from './voucher.ts'
import {
  accountsDiffer,
  beginCall,
  type CallEnd,
  correctTab,
  decideHandOut,
  decideVoucher,
  endCall,
  keepSigned,
  openTab,
  type SpendRules,
  type VoucherDecision,
  type VoucherTab,
} from './voucher-client.ts'
import { type AccessScope, formatVoucherToken } from './voucher-token.ts'

/** Where a tab lies. `update` changes it in one step: nobody else's change gets between reading and writing. */
export interface TabStore {
  update<T>(change: (tab: VoucherTab) => { readonly tab: VoucherTab; readonly result: T }): Promise<T>
}

export function createMemoryTab(first: VoucherTab): TabStore & { read(): VoucherTab } {
  let tab = first
  return {
    read: () => tab,
    update: async (change) => {
      const changed = change(tab)
      tab = changed.tab
      return changed.result
    },
  }
}

/** What became of one attempt to call. */
export interface Attempt<T> {
  readonly end: CallEnd
  /** Set where the provider wants a better voucher: the call did not run. */
  readonly correction?: Correction | undefined
  readonly value: T
}

/** Calls that are paid by vouchers, as many at once as one likes. */
export interface VoucherSession {
  /**
   * Sends a call with a voucher that covers it; where the provider shows that it needs a better one, once or twice more.
   *
   * @param quoteUsdc - The most that the call may cost: the provider's price.
   * @param send - Sends it with this value of `Khachapuri-Voucher`. What it throws leaves the call in doubt.
   * @throws ProtocolError `accounts_differ`, `spend_cap_reached`, `price_above_cap`, `grant_missing`
   */
  call<T>(quoteUsdc: Usdc, send: (token: string) => Promise<Attempt<T>>): Promise<T>
  /**
   * Signs a voucher for so many calls more, to be given away or kept for later: its calls are counted as made.
   *
   * @returns the value of `Khachapuri-Voucher`
   * @throws ProtocolError `accounts_differ`, `price_above_cap`, `spend_cap_reached`
   */
  handOut(calls: number, quoteUsdc: Usdc): Promise<string>
}

export interface VoucherSessionDeps {
  readonly clock: Clock
  readonly store: TabStore
  readonly sign: (voucher: Voucher) => Promise<Hex>
  /** By the same key: `signVoucherAccess`. */
  readonly signAccess: (scope: AccessScope) => Promise<Hex>
  /** Reads the signer's grant from the chain, for when a provider says that it is another one now. */
  readonly readGrant: () => Promise<Grant | undefined>
}

export function createVoucherSession(
  { clock, store, sign, signAccess, readGrant }: VoucherSessionDeps,
  { market, rules }: { market: Market; rules: SpendRules },
): VoucherSession {
  let signing: Promise<void> | undefined
  let probing: Promise<void> | undefined
  const accesses = new Map<number, Promise<Hex>>()

  /** Kept in memory only: it is worth as much as the vouchers, and the key makes it again. */
  function accessFor(scope: AccessScope): Promise<Hex> {
    const known = accesses.get(scope.epoch) ?? signAccess(scope)
    accesses.set(scope.epoch, known)
    known.catch(() => accesses.delete(scope.epoch))
    return known
  }

  /** One signature for all who wait for it. */
  function signNext(voucher: Voucher): Promise<void> {
    signing ??= signAndKeep(voucher).finally(() => {
      signing = undefined
    })
    return signing
  }

  async function signAndKeep(voucher: Voucher): Promise<void> {
    const signature = await sign(voucher)
    await store.update((tab) => ({
      tab: keepSigned(tab, { voucher, signer: tab.signer, signature }),
      result: undefined,
    }))
  }

  /** @returns with what to send the call, and for a probe what lets the others go on. */
  async function begin(id: string, quoteUsdc: Usdc): Promise<Ready> {
    for (;;) {
      await probing
      const decision = await store.update<VoucherDecision>((tab) => {
        const result = decideVoucher(tab, quoteUsdc, rules)
        if (result.kind !== 'use') return { tab, result }
        return { tab: beginCall(tab, { id, quoteUsdc, sinceMs: clock.nowMs() }), result }
      })
      if (decision.kind === 'refuse') throw decision.error
      if (decision.kind === 'use') return { signed: decision.signed, end: () => undefined }
      if (decision.kind === 'probe') {
        if (probing) continue
        const { promise, resolve } = Promise.withResolvers<void>()
        probing = promise
        const end = () => {
          probing = undefined
          resolve()
        }
        return { signed: await signProbe(decision.voucher, end), end }
      }
      await signNext(decision.voucher)
    }
  }

  async function signProbe(voucher: Voucher, end: () => void): Promise<SignedVoucher> {
    try {
      const signature = await sign(voucher)
      return await store.update((tab) => ({ tab, result: { voucher, signer: tab.signer, signature } }))
    } catch (error) {
      end()
      throw error
    }
  }

  async function finish(id: string, end: CallEnd): Promise<void> {
    const broken = await store.update((tab) => {
      const next = endCall(tab, id, end)
      return { tab: next, result: next.broken }
    })
    if (broken !== undefined) throw accountsDiffer(broken)
  }

  /** @throws ProtocolError `accounts_differ`, `grant_missing` */
  async function learn(id: string, correction: Correction): Promise<void> {
    const isSigned = correction.accepted !== undefined && (await wasSigned(correction.accepted, market))
    const verdict = await store.update((tab) => {
      const result = correctTab(tab, id, { correction, isSigned })
      return { tab: result.kind === 'grant_changed' ? tab : result.tab, result }
    })
    if (verdict.kind === 'refuse') throw accountsDiffer(verdict.tab.broken ?? '')
    if (verdict.kind === 'grant_changed') await reopen(verdict.epoch)
  }

  /** A provider's word is not enough for a new beginning: the chain must say the same. */
  async function reopen(epoch: number): Promise<void> {
    const grant = await readGrant()
    if (!grant) {
      throw new ProtocolError('grant_missing', 'The grant has been reclaimed.', {
        hint: 'Make it anew with "khachapuri approve".',
      })
    }
    if (grant.epoch !== epoch) {
      throw accountsDiffer(`it speaks of epoch ${epoch}, and the grant on chain is of epoch ${grant.epoch}`)
    }
    await store.update((tab) => ({
      tab: tab.epoch === epoch ? tab : { ...openTab(grant), sessionUsdc: tab.sessionUsdc },
      result: undefined,
    }))
  }

  return {
    async handOut(calls, quoteUsdc) {
      const decision = await store.update((tab) => {
        const result = decideHandOut(tab, { calls, quoteUsdc }, rules)
        return { tab: result.kind === 'sign' ? result.tab : tab, result }
      })
      if (decision.kind === 'refuse') throw decision.error
      const { voucher, tab } = decision
      const signed = { voucher, signer: tab.signer, signature: await sign(voucher) }
      await store.update((now) => ({ tab: keepSigned(now, signed), result: undefined }))
      return formatVoucherToken({ signed, access: await accessFor(voucher) })
    },
    async call(quoteUsdc, send) {
      for (let attempt = 1; ; attempt += 1) {
        const id = randomUUID()
        const ready = await begin(id, quoteUsdc)
        try {
          const access = await accessFor(ready.signed.voucher).catch(async (error: unknown) => {
            // Nothing was sent.
            await finish(id, { kind: 'free', totals: undefined })
            throw error
          })
          const { end, correction, value } = await send(formatVoucherToken({ signed: ready.signed, access }))
          if (correction) await learn(id, correction)
          else await finish(id, end)
          if (!correction || attempt === limits.voucherAttemptsMax) return value
        } finally {
          ready.end()
        }
      }
    },
  }
}

interface Ready {
  readonly signed: SignedVoucher
  readonly end: () => void
}

const wasSigned = (signed: SignedVoucher, market: Market) =>
  assertVoucherSigned(signed, market).then(
    () => true,
    () => false,
  )

/** An answer's head as far as it concerns money. */
export interface AnswerFacts {
  readonly status: number
  readonly header: (name: string) => string | undefined
  /** The body of a refusal. */
  readonly problem: Problem | undefined
}

/**
 * What an answer says about money. Each provider says of each call that it charged what it cost: an answer without that
 * is free, if it is the provider's; a refusal of something between may hide a call that ran.
 */
export function readCallEnd({ status, header, problem }: AnswerFacts): {
  readonly end: CallEnd
  readonly correction: Correction | undefined
} {
  const priceUsdc = usdcFromJson(header(callHeaders.price))
  const totals = readTotals(header)
  const isCorrected = problem?.code === 'voucher_too_low' || problem?.code === 'voucher_epoch_other'
  const correction = isCorrected ? parseCorrection(problem) : undefined
  const isProviders = header(callHeaders.call) !== undefined
  if (problem === undefined && priceUsdc !== undefined)
    return { end: { kind: 'charged', priceUsdc, totals }, correction }
  if (problem !== undefined && (isProviders || status < 500))
    return { end: { kind: 'free', totals }, correction }
  return { end: { kind: 'unknown' }, correction }
}

function readTotals(header: (name: string) => string | undefined) {
  const amountUsdc = usdcFromJson(header(callHeaders.spent))
  const calls = header(callHeaders.calls)
  if (amountUsdc === undefined || calls === undefined || !/^\d{1,10}$/.test(calls)) return undefined
  return { amountUsdc, calls: Number(calls) }
}
