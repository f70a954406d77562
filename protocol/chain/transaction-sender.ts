import { keccak256, type LocalAccount, type PublicClient, type TransactionReceipt } from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChainCall } from './calls.ts'
import { reachChain } from './client.ts'
import { assertPayable, firstOffer, formatGasPrice, gasLimit, readGasFees } from './gas-fees.ts'
import { readFate, type TransactionFate } from './transaction-fate.ts'
import { type Attempt, createTransactionNurse } from './transaction-nurse.ts'
import type { TransactionRecord, TransactionStore } from './transaction-record.ts'

export type { TransactionFate } from './transaction-fate.ts'
export type { TransactionRecord, TransactionStore } from './transaction-record.ts'

/** One account's way to the chain: its nonces are used one after the other, whoever asks. */
export interface TransactionSender {
  readonly address: `0x${string}`
  /**
   * Tries a call, signs it, makes it durable and offers it to the chain. From then on it may be mined at any time,
   * whatever goes wrong here; `wait` says what became of it. Above the operator's ceiling it waits for cheaper gas.
   *
   * @param options.gasMax - For calls in which a stranger's code has a part: what it may use up at our cost.
   * @throws ProtocolError what the contract refuses, `transaction_failed` also where it wants more gas than `gasMax`,
   * `balance_too_low`, `chain_unreachable`; nothing was signed then
   */
  send(call: ChainCall, options: SendOptions, signal: AbortSignal): Promise<TransactionRecord>
  /**
   * Waits for the fate of a transaction, of this process or of one before it. Meanwhile whatever holds up the account is
   * offered again where it was dropped, and offered with more for gas where blocks leave it out; all of these attempts
   * have the same nonce, so at most one is mined. An RPC server that fails only makes it wait longer.
   */
  wait(record: TransactionRecord, signal: AbortSignal): Promise<TransactionFate>
  /** One look: undefined while nobody knows. A re-org may undo what an earlier look saw. @throws `chain_unreachable` */
  look(record: TransactionRecord, signal: AbortSignal): Promise<TransactionFate | undefined>
  /**
   * Offers again what the chain has lost: transactions of blocks that a re-org took away, whoever waited for them then.
   *
   * @throws ProtocolError `chain_unreachable`
   */
  tend(signal: AbortSignal): Promise<void>
  /** Sends a call and waits for it. @throws ProtocolError as `send`; `transaction_failed` where it was undone */
  run(call: ChainCall, signal: AbortSignal): Promise<TransactionReceipt>
  /** What a unit of gas costs now, in wei. @throws ProtocolError `chain_unreachable` */
  readGasPriceWei(signal: AbortSignal): Promise<bigint>
  status(): SenderStatus
}

export interface SendOptions {
  readonly purpose: string
  readonly gasMax?: bigint
}

export interface SenderStatus {
  /** Transactions whose fate is not known, however often each was offered. */
  readonly open: number
  /** Since when gas costs more than the operator pays, where something waits for it. Milliseconds since 1970. */
  readonly gasTooDearSinceMs: number | undefined
}

export interface TransactionSenderDeps {
  readonly client: PublicClient
  readonly clock: Clock
  readonly log: Log
  readonly store: TransactionStore
}

export interface TransactionSenderOptions {
  readonly account: LocalAccount
  readonly chainId: number
  /** Transactions of this account whose fate is unknown, from the store. */
  readonly open: readonly TransactionRecord[]
  /** Between two looks for a receipt. */
  readonly pollIntervalMs: number
  /** No unit of gas is paid more for. While it costs more, nothing is sent. */
  readonly gasPriceWeiMax?: bigint
  /** After so long without a place in any block, a transaction offers more for gas. */
  readonly stallMs?: number
}

export function createTransactionSender(
  deps: TransactionSenderDeps,
  options: TransactionSenderOptions,
): TransactionSender {
  const { client, clock, log, store } = deps
  const { account, open, pollIntervalMs, gasPriceWeiMax } = options
  const openNonces = new Set(open.map(({ nonce }) => nonce))
  let gasTooDearSinceMs: number | undefined
  let lane: Promise<unknown> = Promise.resolve()
  const nurse = createTransactionNurse(deps, {
    account,
    sign: signAttempt,
    offer,
    gasPriceWeiMax,
    stallMs: options.stallMs ?? limits.transactionStallMs,
  })

  /** Everything that a signature needs, at one moment. */
  async function quote(call: ChainCall, { gasMax }: SendOptions, signal: AbortSignal) {
    const { address } = account
    const [gas, fees, count, balanceWei] = await Promise.all([
      reachChain(client.estimateGas({ account: address, ...targetOf(call) }), call.label, signal),
      readGasFees(client, signal),
      reachChain(client.getTransactionCount({ address, blockTag: 'pending' }), call.label, signal),
      reachChain(client.getBalance({ address }), call.label, signal),
    ])
    return { gas: gasLimit(gas, { label: call.label, gasMax }), fees, count, balanceWei }
  }

  /** A quote that the operator pays; until there is one, it waits. */
  async function affordableQuote(call: ChainCall, options: SendOptions, signal: AbortSignal) {
    for (;;) {
      const quoted = await quote(call, options, signal)
      const { maxFeePerGas } = quoted.fees
      if (gasPriceWeiMax === undefined || maxFeePerGas <= gasPriceWeiMax) return quoted
      if (gasTooDearSinceMs === undefined) {
        const facts = { label: call.label, price: formatGasPrice(maxFeePerGas) }
        log.warn('gas_too_dear', { ...facts, ceiling: formatGasPrice(gasPriceWeiMax) })
        gasTooDearSinceMs = clock.nowMs()
      }
      await clock.sleep(pollIntervalMs, signal)
    }
  }

  async function sign(
    call: ChainCall,
    options: SendOptions,
    signal: AbortSignal,
  ): Promise<TransactionRecord> {
    const { purpose } = options
    const { gas, fees, count, balanceWei } = await affordableQuote(call, options, signal).finally(() => {
      gasTooDearSinceMs = undefined
    })
    assertPayable({ neededWei: gas * fees.maxFeePerGas, balanceWei, label: call.label })
    const offered = firstOffer(fees, { affordableWei: balanceWei / gas, gasPriceWeiMax })
    const nonce = Math.max(count, await store.readNextNonce(account.address))
    return signAttempt({ ...targetOf(call), purpose, nonce, gas, fees: offered })
  }

  async function signAttempt({ to, data, purpose, nonce, gas, fees }: Attempt): Promise<TransactionRecord> {
    const fields = { to, data, ...fees, type: 'eip1559', chainId: options.chainId, nonce, gas } as const
    const raw = await account.signTransaction(fields)
    const common = { purpose, from: account.address, nonce, hash: keccak256(raw), raw }
    return { ...common, state: 'signed', blockNumber: undefined, signedAtMs: clock.nowMs() }
  }

  /** Whatever the server says to it, only a block decides. */
  async function offer({ raw, hash, purpose }: TransactionRecord): Promise<void> {
    await client.sendRawTransaction({ serializedTransaction: raw }).catch((error: unknown) => {
      log.debug('transaction_not_taken', { hash, purpose, error: String(error) })
    })
  }

  async function send(call: ChainCall, options: SendOptions, signal: AbortSignal) {
    signal.throwIfAborted()
    const { purpose } = options
    const record = await sign(call, options, signal)
    // One that cannot be kept is seen by nobody, and its nonce is still free.
    await store.save(record)
    openNonces.add(record.nonce)
    await offer(record)
    log.info('transaction_sent', { purpose, label: call.label, hash: record.hash, nonce: record.nonce })
    return record
  }

  async function readAttempts(record: TransactionRecord): Promise<readonly TransactionRecord[]> {
    const kept = await store.readAttempts(record)
    return kept.length > 0 ? kept : [record]
  }

  async function look(record: TransactionRecord, signal: AbortSignal) {
    const { from, nonce } = record
    const attempts = await readAttempts(record)
    const fate = await readFate(client, { from, nonce, attempts }, signal)
    if (fate.kind === 'unknown' || fate.kind === 'replaced') return fate
    const winner = attempts.find(({ hash }) => hash === fate.receipt.transactionHash)
    // Such as nothing at all, which filled a gap.
    return winner?.purpose === record.purpose ? fate : { kind: 'replaced' as const }
  }

  /**
   * To be called while no new attempt is made. The winner comes last: after a crash in between, it is found open and
   * looked at again.
   */
  async function conclude(record: TransactionRecord, fate: TransactionFate): Promise<TransactionFate> {
    const minedHash = fate.kind === 'replaced' ? undefined : fate.receipt.transactionHash
    const attempts = await readAttempts(record)
    for (const attempt of attempts) {
      if (attempt.hash !== minedHash && attempt.state !== 'replaced')
        await store.save({ ...attempt, state: 'replaced', blockNumber: undefined })
    }
    const winner = attempts.find(({ hash }) => hash === minedHash)
    if (winner && fate.kind !== 'replaced')
      await store.save({ ...winner, state: fate.kind, blockNumber: fate.receipt.blockNumber })
    openNonces.delete(record.nonce)
    const facts = { purpose: record.purpose, hash: minedHash ?? record.hash, attempts: attempts.length }
    log.info('transaction_concluded', { ...facts, fate: fate.kind })
    return fate
  }

  const sender: TransactionSender = {
    address: account.address,
    send(call, sendOptions, signal) {
      const sent = lane.then(() => send(call, sendOptions, signal))
      lane = sent.catch(() => undefined)
      return sent
    },
    async look(record, signal) {
      const fate = await look(record, signal)
      return fate.kind === 'unknown' ? undefined : fate
    },
    async wait(record, signal) {
      let replacements = 0
      for (let looks = 0; ; looks += 1) {
        const fate = await look(record, signal).catch((error: unknown) => {
          signal.throwIfAborted()
          log.debug('transaction_fate_unknown', { hash: record.hash, error: String(error) })
          return undefined
        })
        replacements = fate?.kind === 'replaced' ? replacements + 1 : 0
        const isDecided = fate && fate.kind !== 'unknown'
        if (isDecided && (fate.kind !== 'replaced' || replacements === looksToReplace))
          return nurse.pause(() => conclude(record, fate))
        await nurse.care(
          { nextNonce: fate?.kind === 'unknown' ? fate.nextNonce : undefined, waiting: record, looks },
          signal,
        )
        await clock.sleep(pollIntervalMs, signal)
      }
    },
    tend: (signal) => nurse.tend(signal),
    async run(call, signal) {
      const fate = await sender.wait(await sender.send(call, { purpose: call.label }, signal), signal)
      if (fate.kind === 'mined') return fate.receipt
      throw new ProtocolError('transaction_failed', `The chain undid "${call.label}".`, {
        hint:
          fate.kind === 'replaced'
            ? 'Another program sent with the same account at the same time. Do it again.'
            : 'The state changed in between. Look at it, and do it again.',
      })
    },
    readGasPriceWei: (signal) => reachChain(client.getGasPrice(), 'read the price of gas', signal),
    status: () => ({ open: openNonces.size, gasTooDearSinceMs }),
  }
  return sender
}

const targetOf = ({ to, data }: ChainCall) => ({ to: to ?? null, data })

/** Servers behind one address may know a count before they know the receipts: once is not enough to give up. */
const looksToReplace = 2
