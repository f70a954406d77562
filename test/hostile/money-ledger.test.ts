import { expect, test } from 'vitest'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Pass } from '../../protocol/pass.ts'
import { usdc } from '../../protocol/usdc.ts'
import { addCharge, createBooks } from '../../provider/ledger/books.ts'
import type { Claim } from '../../provider/ledger/claim.ts'
import { meteredLane } from '../../provider/ledger/lanes.ts'
import {
  chargeCall,
  claimOf,
  createTempDir,
  grantOf,
  openTestLedger,
  passOf,
  randomHex,
} from '../support/money.ts'

/** Payers and bearers of passes who want more than was signed for, and clocks that help them. */

const hour = 3_600_000
const startMs = Date.UTC(2030, 0, 1, 12)

/** A clock that goes wherever it is put. */
function createJumpingClock() {
  let nowMs = startMs
  const clock: Clock = { nowMs: () => nowMs, monotonicMs: () => 0, sleep: () => new Promise(() => undefined) }
  return {
    ...clock,
    jumpTo(toMs: number) {
      nowMs = toMs
    },
  }
}

async function setup() {
  const dir = createTempDir()
  const clock = createJumpingClock()
  const ledger = await openTestLedger(dir.path, clock)
  const parts = new AsyncDisposableStack()
  parts.use(dir)
  parts.use(ledger)
  const claimWith = (pass: Pass): Partial<Claim> => ({
    payer: { kind: 'pass', address: pass.payer, pass },
    nowSeconds: Math.floor(clock.nowMs() / 1000),
  })
  const tryClaim = (claim: Partial<Claim>) => {
    const result = ledger.reserve(claimOf(claim))
    return result.kind === 'refused' ? result.error.code : result.kind
  }
  return {
    dir: dir.path,
    clock,
    ledger,
    claimWith,
    tryClaim,
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

const secondsAt = (ms: number) => Math.floor(ms / 1000)

test('a pass that was issued again under its id, to end later, has no second budget', async () => {
  await using s = await setup()
  const first = passOf({ maxSpend: usdc(500n), validBefore: secondsAt(startMs + hour) })
  const longer = passOf({ ...first, validBefore: secondsAt(startMs + 72 * hour) })
  await chargeCall(s.ledger, s.claimWith(first))
  expect(s.tryClaim(s.claimWith(longer))).toBe('pass_exhausted')
  s.clock.jumpTo(startMs + 48 * hour)
  // Sweeps.
  await chargeCall(s.ledger, { nowSeconds: secondsAt(s.clock.nowMs()) })
  expect(s.tryClaim(s.claimWith(longer))).toBe('pass_exhausted')
})

test.each(['in a running process', 'over a restart'])(
  'a clock that jumps ahead and back fills no pass up again, %s',
  async (how) => {
    await using s = await setup()
    const pass = passOf({ maxSpend: usdc(500n), validBefore: secondsAt(startMs + hour) })
    await chargeCall(s.ledger, s.claimWith(pass))
    s.clock.jumpTo(startMs + 3 * hour)
    if (how === 'over a restart') {
      await s.ledger[Symbol.asyncDispose]()
      await (await openTestLedger(s.dir, s.clock))[Symbol.asyncDispose]()
      s.clock.jumpTo(startMs)
      await using ledger = await openTestLedger(s.dir, s.clock)
      const result = ledger.reserve(claimOf(s.claimWith(pass)))
      expect(result.kind === 'refused' && result.error.code).toBe('pass_exhausted')
      return
    }
    await chargeCall(s.ledger, { nowSeconds: secondsAt(s.clock.nowMs()) })
    s.clock.jumpTo(startMs)
    expect(s.tryClaim(s.claimWith(pass))).toBe('pass_exhausted')
  },
)

test('passes whose calls cost nothing leave nothing behind, however far off their end is', () => {
  const at = (nowMs: number) => ({ nowMs, monotonicMs: nowMs - startMs })
  const books = createBooks(
    {
      receiptId: 0,
      accounts: [],
      passes: [],
      owners: [],
      revokedPasses: [],
      vouchers: [],
      voucherAccesses: [],
    },
    at(startMs),
  )
  const keep = (pass: Pass, atMs: number) => {
    const lines = {
      account: books.account(meteredLane(pass.payer)),
      pass: books.pass(pass),
      owner: undefined,
    }
    books.keep(lines, at(atMs))
    return lines
  }
  const [unpaid, paid] = [passOf({ id: randomHex() }), passOf({ id: randomHex() })]
  keep(unpaid, startMs)
  const before = books.pass(unpaid)
  addCharge(keep(paid, startMs), usdc(7n), at(startMs))
  keep(passOf({ id: randomHex() }), startMs + hour)
  expect(books.pass(unpaid)).not.toBe(before)
  expect(books.pass(paid).chargedUsdc).toBe(7n)
})

test('nobody is served on a grant that may have been revoked and reclaimed while the chain was away', async () => {
  await using s = await setup()
  const grant = grantOf({ noticeHours: 1 })
  expect(s.tryClaim({ grant, chainLostSeconds: 40 * 60 })).toBe('reserved')
  expect(s.tryClaim({ grant, chainLostSeconds: 59 * 60 })).toBe('chain_unreachable')
  expect(s.tryClaim({ grant: grantOf(), chainLostSeconds: 59 * 60 })).toBe('reserved')
})

test('what was reserved before midnight and charged after it counts on the new day, once', async () => {
  await using s = await setup()
  const policy = {
    ownerPays: { maxUsdcPerDay: usdc(500n), maxCallsPerMinute: null },
    origins: 'any',
  } as const
  s.clock.jumpTo(Date.UTC(2030, 0, 1, 23, 59, 59))
  const claim = claimOf({ policy, nowSeconds: secondsAt(s.clock.nowMs()) })
  const reserved = s.ledger.reserve(claim)
  s.clock.jumpTo(Date.UTC(2030, 0, 2, 0, 0, 1))
  expect(s.tryClaim({ policy })).toBe('owner_cap_reached')
  if (reserved.kind === 'reserved') reserved.reservation.release()
  expect([s.tryClaim({ policy }), s.tryClaim({ policy })]).toEqual(['reserved', 'owner_cap_reached'])
})
