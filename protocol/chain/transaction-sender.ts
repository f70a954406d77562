import {
  type Address,
  formatEther,
  type Hash,
  type Hex,
  keccak256,
  type LocalAccount,
  type PublicClient,
  type TransactionReceipt,
  TransactionReceiptNotFoundError,
} from 'viem'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ChainCall } from './calls.ts'
import { reachChain } from './client.ts'

/** A signed transaction. It is durable before anybody sees it, and stays `signed` until a block says otherwise. */
export interface TransactionRecord {
  /** What it is for, in the words of whoever ordered it, such as `settle:12`. */
  readonly purpose: string
  readonly from: Address
  readonly nonce: number
  readonly hash: Hash
  /** The signed bytes: sending them again is harmless. */
  readonly raw: Hex
  /** `replaced`: another transaction took its nonce, so it can never be mined. */
  readonly state: 'signed' | 'mined' | 'reverted' | 'replaced'
  readonly blockNumber: bigint | undefined
  readonly signedAtMs: number
}

/** Where signed transactions are kept. `save` resolves when the record would survive a crash. */
export interface TransactionStore {
  save(record: TransactionRecord): Promise<void>
}

export type TransactionFate =
  | { readonly kind: 'mined'; readonly receipt: TransactionReceipt }
  | { readonly kind: 'reverted'; readonly receipt: TransactionReceipt }
  | { readonly kind: 'replaced' }

/** One account's way to the chain: its nonces are used one after the other, whoever asks. */
export interface TransactionSender {
  readonly address: Address
  /**
   * Tries a call, signs it, makes it durable and offers it to the chain. From then on it may be mined at any time,
   * whatever goes wrong here; `wait` says what became of it.
   *
   * @throws ProtocolError what the contract refuses, `balance_too_low`, `chain_unreachable`; nothing was signed then
   */
  send(
    call: ChainCall,
    options: { readonly purpose: string },
    signal: AbortSignal,
  ): Promise<TransactionRecord>
  /**
   * Waits for the fate of a transaction, of this process or of one before it, and offers it again while nobody knows
   * it. An RPC server that fails only makes it wait longer.
   */
  wait(record: TransactionRecord, signal: AbortSignal): Promise<TransactionFate>
  /** One look: undefined while nobody knows. A re-org may undo what an earlier look saw. @throws `chain_unreachable` */
  look(record: TransactionRecord, signal: AbortSignal): Promise<TransactionFate | undefined>
  /** Sends a call and waits for it. @throws ProtocolError as `send`; `transaction_failed` where it was undone */
  run(call: ChainCall, signal: AbortSignal): Promise<TransactionReceipt>
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
  /** Transactions of this account whose fate is unknown, from the store: their nonces are taken. */
  readonly open: readonly TransactionRecord[]
  /** Between two looks for a receipt. */
  readonly pollIntervalMs: number
}

export function createTransactionSender(
  deps: TransactionSenderDeps,
  { account, chainId, open, pollIntervalMs }: TransactionSenderOptions,
): TransactionSender {
  const { client, clock, log, store } = deps
  let nonceMin = open.reduce((next, { nonce }) => Math.max(next, nonce + 1), 0)
  let lane: Promise<unknown> = Promise.resolve()

  async function sign(call: ChainCall, purpose: string, signal: AbortSignal): Promise<TransactionRecord> {
    const target = { to: call.to ?? null, data: call.data }
    const [gas, fees, count, balanceWei] = await reachChain(
      Promise.all([
        client.estimateGas({ account: account.address, ...target }),
        client.estimateFeesPerGas(),
        client.getTransactionCount({ address: account.address, blockTag: 'pending' }),
        client.getBalance({ address: account.address }),
      ]),
      call.label,
      signal,
    )
    // A pool refuses what cannot pay, and no block would ever say what became of it.
    assertPayable({ neededWei: gasLimit(gas) * fees.maxFeePerGas, balanceWei, call })
    const maxFeePerGas = withHeadroom(fees.maxFeePerGas, balanceWei / gasLimit(gas))
    const nonce = Math.max(count, nonceMin)
    const raw = await account.signTransaction({
      ...target,
      ...fees,
      maxFeePerGas,
      type: 'eip1559',
      chainId,
      nonce,
      gas: gasLimit(gas),
    })
    nonceMin = nonce + 1
    const from = account.address
    const signedAtMs = clock.nowMs()
    return {
      purpose,
      from,
      nonce,
      hash: keccak256(raw),
      raw,
      state: 'signed',
      blockNumber: undefined,
      signedAtMs,
    }
  }

  /** Whatever the server says to it, only a block decides. */
  async function offer({ raw, hash, purpose }: TransactionRecord): Promise<void> {
    await client.sendRawTransaction({ serializedTransaction: raw }).catch((error: unknown) => {
      log.debug('transaction_not_taken', { hash, purpose, error: String(error) })
    })
  }

  async function send(call: ChainCall, { purpose }: { purpose: string }, signal: AbortSignal) {
    signal.throwIfAborted()
    const before = nonceMin
    const record = await sign(call, purpose, signal)
    await store.save(record).catch((error: unknown) => {
      // Nobody has seen it and nobody will: the nonce is free again.
      nonceMin = before
      throw error
    })
    await offer(record)
    log.info('transaction_sent', { purpose, label: call.label, hash: record.hash, nonce: record.nonce })
    return record
  }

  async function conclude(record: TransactionRecord, fate: TransactionFate): Promise<TransactionFate> {
    const blockNumber = fate.kind === 'replaced' ? undefined : fate.receipt.blockNumber
    await store.save({ ...record, state: fate.kind, blockNumber })
    log.info('transaction_concluded', { purpose: record.purpose, hash: record.hash, fate: fate.kind })
    return fate
  }

  const sender: TransactionSender = {
    address: account.address,
    send(call, options, signal) {
      const sent = lane.then(() => send(call, options, signal))
      lane = sent.catch(() => undefined)
      return sent
    },
    look: (record, signal) => readFate(client, record, signal),
    async wait(record, signal) {
      for (let looks = 0; ; looks += 1) {
        const fate = await readFate(client, record, signal).catch((error: unknown) => {
          signal.throwIfAborted()
          log.debug('transaction_fate_unknown', { hash: record.hash, error: String(error) })
          return undefined
        })
        if (fate) return conclude(record, fate)
        if (looks % looksPerOffer === looksPerOffer - 1) await offer(record)
        await clock.sleep(pollIntervalMs, signal)
      }
    },
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
  }
  return sender
}

/** How often a receipt is looked for before the bytes are offered once more. */
const looksPerOffer = 5

/** Room for what may change until the block; never more than any chain takes (EIP-7825). */
function gasLimit(estimated: bigint): bigint {
  const wanted = (estimated * 3n) / 2n + 10_000n
  return wanted < limits.transactionGasMax ? wanted : limits.transactionGasMax
}

/**
 * A settlement that a block finds too cheap would hold up all that come after it, past the last moment of a grant. What
 * a block does not ask for is not paid, so the offer goes far above the fee of now, but not beyond what is there.
 */
function withHeadroom(feePerGasWei: bigint, affordableWei: bigint): bigint {
  const wanted = feePerGasWei * feeHeadroom
  const offered = wanted < affordableWei ? wanted : affordableWei
  return offered > feePerGasWei ? offered : feePerGasWei
}

/** Base fees rise by an eighth in a block: twenty full ones in a row. */
const feeHeadroom = 10n

function assertPayable({
  neededWei,
  balanceWei,
  call,
}: {
  neededWei: bigint
  balanceWei: bigint
  call: ChainCall
}): void {
  if (neededWei <= balanceWei) return
  throw new ProtocolError('balance_too_low', `The account cannot pay the gas of "${call.label}".`, {
    hint: `Send it ETH: it has ${formatEther(balanceWei)} and may need ${formatEther(neededWei)}.`,
    details: { balanceWei: balanceWei.toString(), neededWei: neededWei.toString() },
  })
}

async function readFate(
  client: PublicClient,
  record: TransactionRecord,
  signal: AbortSignal,
): Promise<TransactionFate | undefined> {
  // In this order: a receipt that comes between the two must not look like a replacement.
  const count = await reachChain(
    client.getTransactionCount({ address: record.from }),
    'count transactions',
    signal,
  )
  const receipt = await reachChain(readReceipt(client, record.hash), 'read a receipt', signal)
  if (receipt) return { kind: receipt.status === 'success' ? 'mined' : 'reverted', receipt }
  return count > record.nonce ? { kind: 'replaced' } : undefined
}

/** @returns undefined where the chain has no receipt for the transaction. */
export function readReceipt(client: PublicClient, hash: Hash): Promise<TransactionReceipt | undefined> {
  return client.getTransactionReceipt({ hash }).catch((error: unknown) => {
    if (error instanceof TransactionReceiptNotFoundError) return undefined
    throw error
  })
}
