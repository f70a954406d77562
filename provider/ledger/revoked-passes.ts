import type { Address, Hex } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { PassRevocation } from '../../protocol/pass-revocation.ts'
import { passGraceMs } from './books.ts'
import type { Journal } from './journal.ts'

/** Passes that their payers took back. On disk before anybody is told so. */
export interface RevokedPasses {
  has(pass: { readonly payer: Address; readonly id: Hex }): boolean
  /** Whether the pass is revoked for as long as this revocation would have it. */
  covers(revocation: PassRevocation): boolean
  /**
   * Its signature has been checked. Doing it again changes nothing.
   *
   * @throws ProtocolError `ledger_unavailable`; `too_many_requests` where the payer has as many as are kept for one
   */
  revoke(revocation: PassRevocation): Promise<void>
}

export const passRevoked = ({ payer, id }: { readonly payer: Address; readonly id: Hex }) =>
  new ProtocolError('pass_revoked', 'The payer has taken this pass back.', {
    hint: 'Ask the payer for another one: "khachapuri pass create".',
    details: { payer, pass: id },
  })

export function createRevokedPasses({
  journal,
  nowMs,
}: {
  journal: Journal
  nowMs: () => number
}): RevokedPasses {
  const payers = new Map<Address, Map<Hex, number>>()
  for (const revocation of journal.totals.revokedPasses) keep(revocation)

  function keep({ payer, id, validBefore }: PassRevocation): void {
    const passes = payers.get(payer) ?? new Map<Hex, number>()
    payers.set(payer, passes.set(id, Math.max(validBefore, passes.get(id) ?? 0)))
  }

  function assertRoom({ payer, id }: PassRevocation): void {
    const passes = payers.get(payer)
    if (!passes || passes.has(id) || passes.size < limits.passRevocationsPerPayerMax) return
    for (const [old, validBefore] of passes) {
      if (isOver(validBefore, nowMs())) passes.delete(old)
    }
    if (passes.size < limits.passRevocationsPerPayerMax) return
    throw new ProtocolError('too_many_requests', `${passes.size} passes of this payer are revoked here.`, {
      hint: 'End the grant instead ("khachapuri revoke"), or wait until some of them would have ended.',
    })
  }

  return {
    has: ({ payer, id }) => payers.get(payer)?.has(id) ?? false,
    covers: ({ payer, id, validBefore }) => (payers.get(payer)?.get(id) ?? -1) >= validBefore,
    async revoke(revocation) {
      assertRoom(revocation)
      if (journal.failure) throw journal.failure
      await journal.query('saveRevokedPass', revocation)
      keep(revocation)
    },
  }
}

/** A clock that is put right must not wake a pass that was revoked. */
const isOver = (validBefore: number, nowMs: number) => validBefore * 1000 + passGraceMs <= nowMs
