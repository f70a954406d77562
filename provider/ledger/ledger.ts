import type { Address, Hash, Hex, LocalAccount } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import type { TransactionRecord, TransactionStore } from '../../protocol/chain/transaction-sender.ts'
import type { Credits } from '../../protocol/credits.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import type { Grant } from '../../protocol/grant.ts'
import type { Pass } from '../../protocol/pass.ts'
import type { LedgerPayer } from '../../protocol/payer.ts'
import type { Receipt } from '../../protocol/receipt.ts'
import { type DelegatedKey, delegateReceiptKey } from '../../protocol/receipt-key.ts'
import type { SignedVote } from '../../protocol/swarm/vote.ts'
import type { Vote } from '../../protocol/swarm/vote-message.ts'
import type { Market } from '../../protocol/typed-data.ts'
import { formatUsdc, type Usdc, zeroUsdc } from '../../protocol/usdc.ts'
import type { SignedVoucher } from '../../protocol/voucher.ts'
import { type BatchOrder, claimable, countable } from './batches.ts'
import { type Account, addCharge, createBooks, type Lines, liftTo, moveReserved } from './books.ts'
import { boundAnswer, keyRecord, toRecord } from './charge-record.ts'
import type { Claim } from './claim.ts'
import {
  type Collected,
  type CollectedProofs,
  collectedUnproved,
  higherOf,
  isWithin,
  noProofs,
} from './collected.ts'
import { decideClaim } from './decide-claim.ts'
import type { History } from './history.ts'
import { openJournal } from './journal.ts'
import { createKeyDesk, type KeptAnswer, type KeyDesk } from './keys.ts'
import { isMetered, isTrial, type Lane, meteredLane, trialLane } from './lanes.ts'
import type { ExecutedPayment } from './payments.ts'
import type {
  Batch,
  BatchState,
  ChargeRecord,
  PaymentEnding,
  PaymentId,
  PaymentKey,
  PaymentOrder,
  PaymentPlace,
  PaymentRecord,
  StoredAnswer,
} from './records.ts'
import { createRevokedPasses, type RevokedPasses } from './revoked-passes.ts'
import type { UsageProofs } from './usage-proofs.ts'
import { createVoucherAccesses, type VoucherAccesses } from './voucher-accesses.ts'
import { createVoucherShelf, type VoucherShelf } from './voucher-shelf.ts'

export type Reserved =
  | { readonly kind: 'reserved'; readonly reservation: Reservation }
  | { readonly kind: 'refused'; readonly error: ProtocolError }

/** Money set aside for one call in flight. Leaving without a charge gives it back. */
export interface Reservation extends Disposable {
  readonly callId: Hex
  readonly priceUsdc: Usdc
  /**
   * Charges what the receipt says, once. Resolves when charge, receipt and stored answer are on disk, so the last byte
   * of the body may go.
   *
   * @returns what the grant has been charged after it, and the receipt, signed
   * @throws ProtocolError `ledger_unavailable`; the amount then stays reserved, because it may be on disk.
   */
  charge(receipt: Receipt, kept?: KeptAnswer): Promise<Booked>
  /** Costs nobody anything. Does nothing after a charge. The reason is for the log. */
  release(reason?: string): void
  /** What the grant has been charged up to now. */
  charged(): Charged
}

/** A charge that is on disk. */
export interface Booked extends Charged {
  /** As `formatSignedReceipt` writes it. */
  readonly signedReceipt: string
}

/** All that was charged to one grant, over all its epochs. */
export interface Charged {
  readonly chargedUsdc: Usdc
  readonly calls: number
}

/** What is owed in all on one lane, and the grant that should pay for it. */
export interface UnsettledAccount extends Lane {
  readonly grant: Grant
  /** The highest voucher of the lane; undefined for metered use. */
  readonly voucher: SignedVoucher | undefined
  /** Charged and on disk, since the grant exists. */
  readonly amountUsdc: Usdc
  readonly calls: number
}

/** Trial calls that the escrow has not counted yet. */
export interface UncountedTrials extends Lane {
  readonly credits: Credits
  /** Used in all and on disk. */
  readonly calls: number
}

/**
 * Every call that costs money passes here: `reserve` before it runs, `charge` after. See DESIGN, "What survives a
 * crash". Decisions are made in memory and synchronously; what was charged is on disk before the caller has the answer.
 */
export interface Ledger extends AsyncDisposable {
  /** Sets the price aside, or says why not. Synchronous: ten calls at once see one another. */
  reserve(claim: Claim): Reserved
  /** Keeps the receipt of a call that cost nothing. @returns it, signed. @throws ProtocolError `ledger_unavailable` */
  record(receipt: Receipt): Promise<string>
  /** By which receipts are signed now. */
  receiptKey(): DelegatedKey
  /** See `KeyDesk.claim`. Dispose of a claimed key when the call has ended, in whatever way. */
  claimKey: KeyDesk['claim']
  readReceipt(callId: Hex): Promise<Receipt | undefined>
  /** Has the key of receipts sign a vote in a swarm. Nothing is written. @throws ProtocolError `ledger_unavailable` */
  signVote(vote: Vote): Promise<SignedVote>
  /** As `formatSignedReceipt` writes it; undefined where there is none, or one from before receipts were signed. */
  readSignedReceipt(callId: Hex): Promise<string | undefined>
  /** Those whose grants could pay something now. */
  unsettled(grantOf: (payer: Address, signer: Address) => Grant | undefined): UnsettledAccount[]
  /** Those of whose trial calls the escrow could count more now. */
  uncounted(creditsOf: (user: Address) => Credits | undefined): UncountedTrials[]
  /** Whether something was charged to a pass under this id. */
  hasPaid(pass: Pick<Pass, 'payer' | 'id'>): boolean
  /** Calls `listener` with each amount that got on disk, and its payer. @returns what stops it. */
  onCharged(listener: (amountUsdc: Usdc, payer: Address) => void): () => void
  readonly vouchers: VoucherShelf
  readonly voucherAccesses: VoucherAccesses
  readonly revokedPasses: RevokedPasses
  readonly history: LedgerHistory
  readonly batches: Batches
  readonly payments: Payments
  /** Where the transaction sender keeps what it signs. */
  readonly transactions: TransactionStore & {
    readOpen(): Promise<TransactionRecord[]>
    readByPurpose(purpose: string): Promise<TransactionRecord[]>
  }
}

/** What was charged, for statements; all of it is as in `History`. @throws ProtocolError `ledger_unavailable` */
export type LedgerHistory = {
  readonly [Name in keyof (History & UsageProofs)]: (
    ...args: Parameters<(History & UsageProofs)[Name]>
  ) => Promise<Awaited<ReturnType<(History & UsageProofs)[Name]>>>
}

/** Settlements, durable before they are sent. */
export interface Batches {
  create(order: Omit<BatchOrder, 'nowMs'>): Promise<Batch | undefined>
  readOpen(): Promise<Batch[]>
  saveState(id: number, state: BatchState): Promise<void>
  readLeaves(id: number): Promise<Hex[]>
}

/** x402 payments, each durable before its program runs. All of it is as in `PaymentTable`. @throws `ledger_unavailable` */
export interface Payments {
  reserve(order: PaymentOrder): Promise<boolean>
  cancel(id: PaymentId): Promise<void>
  execute(executed: Omit<ExecutedPayment, 'nowMs'>): Promise<void>
  submit(id: PaymentId, transaction: Hash): Promise<void>
  /**
   * Keeps the receipt of a paid call, together with what became of the payment, if that is known.
   *
   * @returns the receipt, signed
   */
  book(booking: PaymentBooking): Promise<string>
  conclude(id: PaymentId, ending: PaymentEnding): Promise<void>
  readMined(blockNumber: bigint): Promise<PaymentRecord[]>
  placeMined(id: PaymentId, place: PaymentPlace): Promise<void>
  find(id: PaymentId): Promise<PaymentRecord | undefined>
  findByCall(callId: Hex): Promise<PaymentRecord | undefined>
  /** To be called once, before the first call. */
  recover(): Promise<PaymentRecord[]>
}

export interface PaymentBooking {
  readonly id: PaymentId
  readonly receipt: Receipt
  readonly ending: PaymentEnding | undefined
  readonly key: PaymentKey | undefined
  readonly answer: StoredAnswer | undefined
}

export interface LedgerDeps {
  readonly clock: Clock
  readonly log: Log
  /** What holds although these books do not know of it; without it, nothing does. */
  readonly proofs?: CollectedProofs
}

export interface LedgerOptions {
  /** Made if it is missing. One process at a time may use it. */
  readonly dir: string
  /** The provider's. It signs for the key that signs receipts. */
  readonly account: Pick<LocalAccount, 'address' | 'signTypedData'>
  readonly market: Market
}

/** @throws ProtocolError `ledger_unavailable` (in use, disk), `config_invalid` (another provider's or market's) */
export async function openLedger(
  { clock, log, proofs = noProofs }: LedgerDeps,
  { dir, account, market }: LedgerOptions,
  signal: AbortSignal,
): Promise<Ledger> {
  signal.throwIfAborted()
  const provider = account.address
  let receiptKey: DelegatedKey | undefined
  const journal = await openJournal(
    {
      clock,
      async delegate(key) {
        receiptKey = await delegateReceiptKey(key, account, market)
        return receiptKey
      },
    },
    { dir, identity: { provider, market }, nowMs: clock.nowMs() },
  )
  const now = () => ({ nowMs: clock.nowMs(), monotonicMs: clock.monotonicMs() })
  const books = createBooks(journal.totals, now())
  const keys = createKeyDesk({ journal, clock })
  const vouchers = createVoucherShelf({ journal, clock })
  const voucherAccesses = createVoucherAccesses({ journal })
  const revokedPasses = createRevokedPasses({ journal, nowMs: clock.nowMs })
  const listeners = new Set<(amountUsdc: Usdc, payer: Address) => void>()
  log.info('ledger_opened', {
    dir,
    receipts: journal.totals.receiptId,
    payers: journal.totals.accounts.length,
  })

  /** @returns the receipt, signed */
  async function append(record: ChargeRecord, line: Account): Promise<string> {
    let signedReceipt: string
    try {
      signedReceipt = await journal.append(record)
    } catch (error) {
      log.error('ledger_write_failed', { callId: record.receipt.callId, cause: (error as Error).cause })
      throw error
    }
    line.durableUsdc = record.chargedUsdc
    line.durableCalls = record.calls
    return signedReceipt
  }

  async function charge(
    claim: Claim,
    lines: Lines,
    receipt: Receipt,
    kept: KeptAnswer | undefined,
  ): Promise<Booked> {
    assert(
      receipt.callId === claim.callId && receipt.payer === claim.payer.address,
      'a receipt is of its claim',
    )
    assert(receipt.priceUsdc <= claim.priceUsdc, 'no more is charged than was reserved')
    if (journal.failure) throw journal.failure
    moveReserved(lines, claim.priceUsdc, -1)
    addCharge(lines, receipt.priceUsdc, now())
    const charged = chargedTo(lines.account)
    const signedReceipt = await append(
      toRecord(lines, { receiptId: books.nextReceiptId(), receipt, key: keyRecord(kept, clock.nowMs()) }),
      lines.account,
    )
    kept?.key[Symbol.dispose]()
    if (receipt.priceUsdc > zeroUsdc) {
      for (const listener of listeners) listener(receipt.priceUsdc, receipt.payer)
    }
    return { ...charged, signedReceipt }
  }

  function linesOf({ payer, grant, spec }: Claim): Lines {
    return {
      account: books.account(laneOfPayer(payer, grant)),
      pass: payer.kind === 'pass' ? books.pass(payer.pass) : undefined,
      owner: payer.kind === 'owner' ? books.owner(spec, now()) : undefined,
    }
  }

  /**
   * What the chain knows already is no longer to be had here: new charges come on top of that. An RPC server that says more
   * than there is would have the next settlement ask for it once more, so it takes books or a proof to believe it.
   *
   * @returns why not
   */
  function liftToMirror(claim: Claim, account: Account): ProtocolError | undefined {
    const said = collectedBy(claim)
    const booked = { spentUsdc: account.chargedUsdc, calls: account.calls }
    if (!said || isWithin(said, booked)) return undefined
    const ofEpochs = higherOf(booked, books.highest(account))
    const known = higherOf(ofEpochs, proofs.find(account))
    if (!isWithin(said, known)) {
      proofs.seek(account, said)
      return collectedUnproved(account, { said, known })
    }
    liftTo(account, said)
    if (!isWithin(said, ofEpochs))
      log.warn('ledger_behind_chain', {
        payer: account.payer,
        charged: formatUsdc(booked.spentUsdc),
        spent: formatUsdc(said.spentUsdc),
      })
    return undefined
  }

  /** A receipt that changes nobody's totals. */
  async function keep(receipt: Receipt, rest: Pick<ChargeRecord, 'key' | 'payment'>): Promise<string> {
    if (journal.failure) throw journal.failure
    const lines = { account: books.account(meteredLane(receipt.payer)), pass: undefined, owner: undefined }
    // Not into the books: strangers without number pay by x402, once.
    return append(toRecord(lines, { receiptId: books.nextReceiptId(), receipt, ...rest }), lines.account)
  }

  return {
    reserve(claim) {
      if (journal.failure) return { kind: 'refused', error: journal.failure }
      const lines = linesOf(claim)
      const unproved = liftToMirror(claim, lines.account)
      const accepted = vouchers.find(lines.account)
      const error =
        unproved ?? decideClaim(claim, lines, { provider, accepted, isRevoked: revokedPasses.has })
      if (error) return { kind: 'refused', error }
      books.keep(lines, now())
      moveReserved(lines, claim.priceUsdc, 1)
      const giveBackCall = countCall(lines)
      let isOpen = true
      const release = (reason?: string) => {
        if (!isOpen) return
        isOpen = false
        log.debug('reservation_released', { callId: claim.callId, reason })
        moveReserved(lines, claim.priceUsdc, -1)
        giveBackCall()
      }
      const reservation: Reservation = {
        callId: claim.callId,
        priceUsdc: claim.priceUsdc,
        charge(receipt, kept) {
          assert(isOpen, 'a reservation is charged once')
          isOpen = false
          return charge(claim, lines, receipt, kept)
        },
        release,
        charged: () => chargedTo(lines.account),
        [Symbol.dispose]: () => release('nothing was charged'),
      }
      return { kind: 'reserved', reservation }
    },

    async record(receipt) {
      assert(receipt.priceUsdc === zeroUsdc, 'only a reservation can be charged')
      return keep(receipt, { key: undefined })
    },

    receiptKey() {
      assert(receiptKey, 'a ledger that is open has a key for its receipts')
      return receiptKey
    },
    claimKey: keys.claim,
    signVote: async (vote) => ({ market, vote, ...(await journal.query('signVote', vote)) }),
    readReceipt: (callId) => journal.query('readReceipt', callId),
    readSignedReceipt: (callId) => journal.query('readSignedReceipt', callId),

    unsettled(grantOf) {
      const found: UnsettledAccount[] = []
      for (const { payer, signer, epoch, durableUsdc: amountUsdc, durableCalls: calls } of books.accounts) {
        const lane = { payer, signer, epoch }
        if (isTrial(lane)) continue
        const grant = grantOf(payer, signer)
        if (!grant || grant.budgetUsdc === zeroUsdc) continue
        const voucher = vouchers.find(lane)
        // Of an epoch that has ended nothing can be collected any more, and without a voucher never.
        if (!isMetered(lane) && (grant.epoch !== epoch || !voucher)) continue
        if (claimable({ amountUsdc, calls }, { ...grant, voucher }))
          found.push({ ...lane, grant, voucher, amountUsdc, calls })
      }
      return found
    },

    uncounted(creditsOf) {
      const found: UncountedTrials[] = []
      for (const { payer, signer, epoch, durableCalls: calls } of books.accounts) {
        const credits = isTrial({ signer }) ? creditsOf(payer) : undefined
        if (credits && countable(calls, credits) !== undefined)
          found.push({ payer, signer, epoch, credits, calls })
      }
      return found
    },

    vouchers,
    voucherAccesses,
    revokedPasses,

    history: {
      knowsPayer: (payer) => journal.query('knowsPayer', payer),
      readLanes: (at) => journal.query('readLanes', at),
      readLaneReceipts: (at) => journal.query('readLaneReceipts', at),
      readChargesBetween: (at) => journal.query('readChargesBetween', at),
      readPasses: (at) => journal.query('readPasses', at),
      findBatch: (transaction) => journal.query('findBatch', transaction),
      findPaidCall: (transaction) => journal.query('findPaidCall', transaction),
      sumPayments: () => journal.query('sumPayments'),
      readAllLanes: (at) => journal.query('readAllLanes', at),
      readUsageProofs: (at) => journal.query('readUsageProofs', at),
      readShownRoot: (callId) => journal.query('readShownRoot', callId),
    },

    hasPaid: books.hasPaid,

    onCharged(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },

    batches: {
      create: (order) => journal.query('createBatch', { ...order, nowMs: clock.nowMs() }),
      readOpen: () => journal.query('readOpenBatches'),
      saveState: (id, state) => journal.query('saveBatchState', id, state),
      readLeaves: (id) => journal.query('readBatchLeaves', id),
    },

    payments: {
      async reserve(order) {
        if (journal.failure) throw journal.failure
        return journal.query('reservePayment', { ...order, nowMs: clock.nowMs() })
      },
      cancel: (id) => journal.query('cancelPayment', id),
      execute: ({ answer, ...executed }) =>
        journal.query('executePayment', { ...executed, answer: boundAnswer(answer), nowMs: clock.nowMs() }),
      submit: (id, transaction) => journal.query('submitPayment', id, transaction),
      conclude: (id, ending) => journal.query('concludePayment', id, ending),
      readMined: (blockNumber) => journal.query('readMinedPayments', blockNumber),
      placeMined: (id, place) => journal.query('placeMinedPayment', id, place),
      book: ({ id, receipt, ending, key, answer }) =>
        keep(receipt, {
          key: key && { ...key, storedAtMs: clock.nowMs(), answer: boundAnswer(answer) },
          payment: { id, ending },
        }),
      find: (id) => journal.query('findPayment', id),
      findByCall: (callId) => journal.query('findPaymentByCall', callId),
      recover: () => journal.query('recoverPayments'),
    },

    transactions: {
      save: (record) => journal.query('saveTransaction', record),
      readOpen: () => journal.query('readOpenTransactions'),
      readByPurpose: (purpose) => journal.query('readTransactions', purpose),
      readAttempts: (at) => journal.query('readAttempts', at),
      readNextNonce: (from) => journal.query('readNextNonce', from),
    },

    [Symbol.asyncDispose]: () => journal[Symbol.asyncDispose](),
  }
}

const chargedTo = ({ chargedUsdc, calls }: Account): Charged => ({ chargedUsdc, calls })

/** What the chain is said to have collected already. */
function collectedBy({ payer, grant, credits }: Claim): Collected | undefined {
  if (payer.kind === 'trial') return credits && { spentUsdc: zeroUsdc, calls: credits.used }
  return grant && { spentUsdc: grant.spentUsdc, calls: grant.calls }
}

function laneOfPayer(payer: LedgerPayer, grant: Grant | undefined): Lane {
  const { kind, address } = payer
  if (kind === 'trial') return trialLane(address)
  if (kind !== 'voucher') return meteredLane(address)
  return { payer: address, signer: payer.signed.signer, epoch: epochOf(payer.signed, grant) }
}

/** The books go by the grant's epoch; a voucher of another one is told how things stand in this one. */
const epochOf = ({ voucher }: SignedVoucher, grant: Grant | undefined) => grant?.epoch ?? voucher.epoch

/** Counts a call of this minute against its owner. @returns what takes it back. */
function countCall({ owner }: Lines): () => void {
  if (!owner) return () => undefined
  owner.calls += 1
  const { minuteBeganMs } = owner
  return () => {
    if (owner.minuteBeganMs === minuteBeganMs) owner.calls -= 1
  }
}
