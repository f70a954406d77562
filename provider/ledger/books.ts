import type { Address, Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import type { Pass } from '../../protocol/pass.ts'
import { addUsdc, type Usdc, usdc, zeroUsdc } from '../../protocol/usdc.ts'
import { type Collected, higherOf, nothingCollected } from './collected.ts'
import { isTrial, type Lane, laneKey } from './lanes.ts'
import type { AccountTotal, JournalTotals, OwnerTotal, PassTotal } from './records.ts'

/**
 * Who owes what, in memory: what the decisions about money are made from. Everything here is synchronous, so between
 * a look and a reservation nothing else can happen.
 */
export interface Books {
  readonly accounts: Iterable<Account>
  /** The lane's line, or a new one that is not in the books yet: a refused claim must leave nothing here. */
  account(lane: Lane): Account
  pass(pass: Pass): PassLine
  /** Whether something was charged to a pass under this id. */
  hasPaid(pass: Pick<Pass, 'payer' | 'id'>): boolean
  owner(spec: Hex, now: Now): OwnerLine
  /** Takes new lines into the books. */
  keep(lines: Lines, now: Now): void
  /** The most that was charged on any lane of this payer and signer, in whatever epoch. */
  highest(lane: Lane): Collected
  nextReceiptId(): number
}

export interface Account extends Lane {
  /** Whether it is in the books. */
  isKept: boolean
  /** Charged since the grant exists, what is on its way to the disk included. */
  chargedUsdc: Usdc
  calls: number
  /** The part of it that is on disk: what may be settled. */
  durableUsdc: Usdc
  durableCalls: number
  /** Reserved for calls in flight. */
  reservedUsdc: Usdc
  callsInFlight: number
}

export interface PassLine {
  readonly payer: Address
  readonly id: Hex
  /** The latest of all passes under this id. */
  validBefore: number
  chargedUsdc: Usdc
  reservedUsdc: Usdc
}

export interface OwnerLine {
  readonly spec: Hex
  day: number
  chargedUsdc: Usdc
  reservedUsdc: Usdc
  minute: number
  calls: number
  /** When the minute began that `calls` are of, by a clock that nobody sets. */
  minuteBeganMs: number
}

/** One moment by both clocks: of the day and the books, and the one that nobody sets. */
export interface Now {
  readonly nowMs: number
  readonly monotonicMs: number
}

export function createBooks(totals: JournalTotals, opened: Now): Books {
  const accounts = new Map(totals.accounts.map((total) => [laneKey(total), accountOf(total, true)]))
  const passes = new Map(totals.passes.map((total) => [passKey(total), passLineOf(total)]))
  const owners = new Map(totals.owners.map((total) => [total.spec, ownerLineOf(total, opened)]))
  let receiptId = totals.receiptId
  let sweptMs = opened.monotonicMs

  /** Once a minute, forgets what can play no part any more. */
  function sweep({ nowMs, monotonicMs }: Now): void {
    if (monotonicMs - sweptMs < minuteMs) return
    sweptMs = monotonicMs
    for (const [key, line] of passes) {
      const isPlayedOut = line.chargedUsdc === zeroUsdc || line.validBefore * 1000 + passGraceMs <= nowMs
      if (line.reservedUsdc === zeroUsdc && isPlayedOut) passes.delete(key)
    }
    for (const [key, line] of owners) {
      const isOld = line.day < dayOf(nowMs) && monotonicMs - line.minuteBeganMs >= minuteMs
      if (line.reservedUsdc === zeroUsdc && isOld) owners.delete(key)
    }
  }

  return {
    accounts: { [Symbol.iterator]: () => accounts.values() },
    account: (lane) =>
      accounts.get(laneKey(lane)) ?? accountOf({ ...pickLane(lane), chargedUsdc: zeroUsdc, calls: 0 }, false),
    pass({ payer, id, validBefore }) {
      const line =
        passes.get(passKey({ payer, id })) ?? passLineOf({ payer, id, validBefore, chargedUsdc: zeroUsdc })
      line.validBefore = Math.max(line.validBefore, validBefore)
      return line
    },
    hasPaid: (pass) => (passes.get(passKey(pass))?.chargedUsdc ?? zeroUsdc) > zeroUsdc,
    owner(spec, now) {
      const line =
        owners.get(spec) ??
        ownerLineOf({ spec, day: 0, chargedUsdc: zeroUsdc, minute: minuteOf(now.nowMs), calls: 0 }, now)
      turnTo(line, now)
      return line
    },
    keep({ account, pass, owner }, now) {
      sweep(now)
      if (!account.isKept) {
        account.isKept = true
        accounts.set(laneKey(account), account)
      }
      if (pass) passes.set(passKey(pass), pass)
      if (owner) owners.set(owner.spec, owner)
    },
    highest({ payer, signer }) {
      return epochs
        .flatMap((epoch) => accounts.get(laneKey({ payer, signer, epoch })) ?? [])
        .map(({ chargedUsdc, calls }): Collected => ({ spentUsdc: chargedUsdc, calls }))
        .reduce(higherOf, nothingCollected)
    },
    nextReceiptId() {
      receiptId += 1
      return receiptId
    },
  }
}

/** What was collected of a grant is no longer to be had: new charges come on top of that. */
export function liftTo(account: Account, { spentUsdc, calls }: Collected): void {
  if (spentUsdc > account.chargedUsdc) account.chargedUsdc = spentUsdc
  if (calls > account.calls) account.calls = calls
}

/** Moves a reservation on the three lines; `sign` is +1 to reserve and −1 to give back. */
export function moveReserved(lines: Lines, priceUsdc: Usdc, sign: 1 | -1): void {
  const amount = BigInt(sign) * priceUsdc
  lines.account.reservedUsdc = usdc(lines.account.reservedUsdc + amount)
  lines.account.callsInFlight += sign
  if (lines.pass) lines.pass.reservedUsdc = usdc(lines.pass.reservedUsdc + amount)
  if (lines.owner) lines.owner.reservedUsdc = usdc(lines.owner.reservedUsdc + amount)
}

/** Adds a charge to the three lines. */
export function addCharge(lines: Lines, priceUsdc: Usdc, now: Now): void {
  const { account, pass, owner } = lines
  account.chargedUsdc = addUsdc(account.chargedUsdc, priceUsdc)
  if (priceUsdc > zeroUsdc || isTrial(account)) account.calls += 1
  if (pass) pass.chargedUsdc = addUsdc(pass.chargedUsdc, priceUsdc)
  if (owner) {
    turnTo(owner, now)
    owner.chargedUsdc = addUsdc(owner.chargedUsdc, priceUsdc)
  }
}

/** What one claim touches. */
export interface Lines {
  readonly account: Account
  readonly pass: PassLine | undefined
  readonly owner: OwnerLine | undefined
}

/** For how long after its end a pass is remembered: a clock that is put right must not fill it up again. */
export const passGraceMs = 86_400_000

const minuteMs = 60_000
const minuteOf = (nowMs: number) => Math.floor(nowMs / minuteMs)
const dayOf = (nowMs: number) => Math.floor(nowMs / 86_400_000)

/**
 * A clock that goes back must not give anybody a second day or minute, nor one that lasts until it has caught up: what was
 * counted stays, and counts for the day and the minute that it is now.
 */
function turnTo(line: OwnerLine, { nowMs, monotonicMs }: Now): void {
  if (dayOf(nowMs) > line.day) line.chargedUsdc = zeroUsdc
  line.day = dayOf(nowMs)
  if (monotonicMs - line.minuteBeganMs < minuteMs) return
  line.minuteBeganMs = monotonicMs
  line.minute = minuteOf(nowMs)
  line.calls = 0
}

const passKey = ({ payer, id }: { payer: Address; id: Hex }) => payer + id

const pickLane = ({ payer, signer, epoch }: Lane): Lane => ({ payer, signer, epoch })

const accountOf = ({ chargedUsdc, calls, ...lane }: AccountTotal, isKept: boolean): Account => {
  assert(calls < 2 ** 32, 'calls fit the 32 bits of a row')
  return {
    ...lane,
    isKept,
    chargedUsdc,
    calls,
    durableUsdc: chargedUsdc,
    durableCalls: calls,
    reservedUsdc: zeroUsdc,
    callsInFlight: 0,
  }
}

const passLineOf = (total: PassTotal): PassLine => ({ ...total, reservedUsdc: zeroUsdc })

/** What was counted before, in this minute or in one that is still to come by this clock, counts for a minute from now on. */
const ownerLineOf = (total: OwnerTotal, { nowMs, monotonicMs }: Now): OwnerLine => ({
  ...total,
  calls: total.minute < minuteOf(nowMs) ? 0 : total.calls,
  reservedUsdc: zeroUsdc,
  minuteBeganMs: monotonicMs,
})

const epochs = Array.from({ length: 256 }, (_, epoch) => epoch)
