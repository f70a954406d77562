import {
  type Hex,
  type LocalAccount,
  type PublicClient,
  parseTransaction,
  type TransactionSerializedEIP1559,
} from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { limits } from '../limits.ts'
import { reachChain } from './client.ts'
import {
  type FeeBounds,
  firstOffer,
  formatGasPrice,
  type GasFees,
  higherOffer,
  readGasFees,
} from './gas-fees.ts'
import { isKnown } from './transaction-fate.ts'
import type { TransactionRecord, TransactionStore } from './transaction-record.ts'

/** One signature over a nonce. */
export interface Attempt {
  readonly purpose: string
  readonly to: `0x${string}` | null
  readonly data: Hex
  readonly nonce: number
  readonly gas: bigint
  readonly fees: GasFees
}

/** Looks after transactions that no block takes. Whatever it signs is durable before anybody sees it. */
export interface TransactionNurse {
  /** To be called after each look that decided nothing. Trouble with the chain is logged, and tried again next time. */
  care(observed: Observed, signal: AbortSignal): Promise<void>
  /** See `TransactionSender.tend`. @throws ProtocolError `chain_unreachable` */
  tend(signal: AbortSignal): Promise<void>
  /** Runs `task` while no new attempt is made. */
  pause<T>(task: () => Promise<T>): Promise<T>
}

export interface Observed {
  /** The nonce that the next block would take; undefined where the chain did not say. */
  readonly nextNonce: number | undefined
  readonly waiting: TransactionRecord
  /** How many looks there have been for it. */
  readonly looks: number
}

export interface NurseDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
  readonly store: TransactionStore
}

export interface NurseOptions {
  readonly account: LocalAccount
  readonly sign: (attempt: Attempt) => Promise<TransactionRecord>
  readonly offer: (record: TransactionRecord) => Promise<void>
  readonly gasPriceWeiMax: bigint | undefined
  readonly stallMs: number
}

/** Since when one nonce is the next, and which block was the newest then. */
interface Watch {
  readonly nonce: number
  readonly sinceMs: number
  readonly blockNumber: bigint
}

export function createTransactionNurse(deps: NurseDeps, options: NurseOptions): TransactionNurse {
  const { client, clock, log, store } = deps
  const { account, sign, offer, gasPriceWeiMax, stallMs } = options
  const from = account.address
  let watch: Watch | undefined
  let busy: Promise<unknown> = Promise.resolve()

  function inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = busy.then(task)
    busy = done.catch(() => undefined)
    return done
  }

  async function offerAgain({ nonce }: { nonce: number }, signal: AbortSignal): Promise<void> {
    const attempts = await store.readAttempts({ from, nonce })
    const last = attempts.at(-1)
    if (!last || (await isKnown(client, attempts, signal))) return
    log.warn('transaction_dropped', { purpose: last.purpose, hash: last.hash, nonce })
    await offer(last)
  }

  /** Whether blocks have come for a while and none took this nonce. A chain that stands still is no reason to pay more. */
  async function isStalled(nonce: number, signal: AbortSignal): Promise<boolean> {
    const isWatched = watch?.nonce === nonce
    if (isWatched && watch && clock.monotonicMs() - watch.sinceMs < stallMs) return false
    const blockNumber = await reachChain(client.getBlockNumber(), 'read the newest block', signal)
    if (isWatched && watch && blockNumber > watch.blockNumber) return true
    if (!isWatched) watch = { nonce, sinceMs: clock.monotonicMs(), blockNumber }
    return false
  }

  /** One more attempt at the nonce that holds up all others. */
  async function offerMore(nonce: number, signal: AbortSignal): Promise<void> {
    // It may have been mined while this waited for its turn.
    if ((await countTransactions('latest', signal)) > nonce) return
    const attempts = await store.readAttempts({ from, nonce })
    const last = attempts.at(-1)
    const now = await readGasFees(client, signal)
    const balanceWei = await reachChain(client.getBalance({ address: from }), 'read the ether', signal)
    const attempt = last
      ? raise(last, { now, balanceWei })
      : // Where even the pool has nothing for a nonce below ours, what had it is gone, and nobody else will fill it.
        (await countTransactions('pending', signal)) <= nonce && fill(nonce, { now, balanceWei })
    watch = undefined
    if (!attempt || attempts.length >= limits.transactionAttemptsMax) {
      log.warn('transaction_stalled', { purpose: last?.purpose, nonce, attempts: attempts.length })
      return
    }
    const record = await sign(attempt)
    await store.save(record)
    await offer(record)
    log.warn('transaction_replaced', {
      purpose: record.purpose,
      nonce,
      attempt: attempts.length + 1,
      hash: record.hash,
      offered: formatGasPrice(attempt.fees.maxFeePerGas),
    })
  }

  function raise(
    { raw, purpose, nonce }: TransactionRecord,
    { now, balanceWei }: Prices,
  ): Attempt | undefined {
    const last = parseTransaction(raw as TransactionSerializedEIP1559)
    const { to = null, data = '0x', gas = 0n, maxFeePerGas = 0n, maxPriorityFeePerGas = 0n } = last
    const fees = higherOffer({ maxFeePerGas, maxPriorityFeePerGas }, now, boundsOf(gas, balanceWei))
    return fees && { purpose, nonce, to, data, gas, fees }
  }

  const countTransactions = (blockTag: 'latest' | 'pending', signal: AbortSignal) =>
    reachChain(client.getTransactionCount({ address: from, blockTag }), 'count transactions', signal)

  /** Nothing to nobody, so that what comes after it can be mined. */
  function fill(nonce: number, { now, balanceWei }: Prices): Attempt | undefined {
    const fees = firstOffer(now, boundsOf(emptyTransferGas, balanceWei))
    if (fees.maxFeePerGas > (gasPriceWeiMax ?? fees.maxFeePerGas)) return undefined
    return { purpose: `fill:${nonce}`, nonce, to: from, data: '0x', gas: emptyTransferGas, fees }
  }

  const boundsOf = (gas: bigint, balanceWei: bigint): FeeBounds => ({
    affordableWei: balanceWei / gas,
    gasPriceWeiMax,
  })

  async function care({ nextNonce, waiting, looks }: Observed, signal: AbortSignal): Promise<void> {
    if (looks % looksPerOffer === looksPerOffer - 1) {
      await offerAgain(waiting, signal)
      if (nextNonce !== undefined && nextNonce < waiting.nonce) await offerAgain({ nonce: nextNonce }, signal)
    }
    if (nextNonce !== undefined && nextNonce <= waiting.nonce && (await isStalled(nextNonce, signal)))
      await offerMore(nextNonce, signal)
  }

  async function tend(signal: AbortSignal): Promise<void> {
    const next = await countTransactions('latest', signal)
    const end = Math.min(await store.readNextNonce(from), next + noncesPerTurn)
    for (let nonce = next; nonce < end; nonce += 1) await offerAgain({ nonce }, signal)
  }

  return {
    pause: inTurn,
    tend: (signal) => inTurn(() => tend(signal)),
    async care(observed, signal) {
      // Who waits for a later nonce while another waiter's turn is on gets the same answers a little later.
      await inTurn(() => care(observed, signal)).catch((error: unknown) => {
        signal.throwIfAborted()
        log.debug('transaction_not_cared_for', { nonce: observed.waiting.nonce, error: String(error) })
      })
    },
  }
}

interface Prices {
  readonly now: GasFees
  readonly balanceWei: bigint
}

/** How often a receipt is looked for before the pool is asked whether it still has the transaction. */
const looksPerOffer = 5

/** A re-org that took more away is healed in several turns. */
const noncesPerTurn = 64

const emptyTransferGas = 21_000n
