import { formatEther, formatGwei, type PublicClient } from 'viem'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { reachChain } from './client.ts'

/** What a transaction offers for each unit of gas, in wei. */
export interface GasFees {
  /** All in. What a block does not ask for is not paid. */
  readonly maxFeePerGas: bigint
  /** Of it, for whoever makes the block. */
  readonly maxPriorityFeePerGas: bigint
}

/** What bounds an offer. */
export interface FeeBounds {
  /** What the account has, for one unit of the gas that the transaction may use. */
  readonly affordableWei: bigint
  /** What the operator pays at most. */
  readonly gasPriceWeiMax: bigint | undefined
}

/** What the next blocks ask for. @throws ProtocolError `chain_unreachable` */
export function readGasFees(client: PublicClient, signal: AbortSignal): Promise<GasFees> {
  return reachChain(client.estimateFeesPerGas(), 'read the price of gas', signal)
}

/**
 * A transaction that a block finds too cheap holds up all that come after it, past the last moment of a grant. So the
 * offer goes far above the fee of now, but not beyond what is there, and leaves room below the operator's ceiling for
 * later offers.
 */
export function firstOffer(now: GasFees, { affordableWei, gasPriceWeiMax }: FeeBounds): GasFees {
  const bounds = [affordableWei, ...(gasPriceWeiMax === undefined ? [] : [gasPriceWeiMax / 2n])]
  const offered = smallest(now.maxFeePerGas * feeHeadroom, ...bounds)
  return { ...now, maxFeePerGas: larger(offered, now.maxFeePerGas) }
}

/**
 * The next offer for a transaction that no block takes: an eighth more than the last one, which is more than any pool
 * asks of a replacement, or what blocks ask for by now.
 *
 * @returns undefined where that is more than there is, or than the operator pays.
 */
export function higherOffer(
  last: GasFees,
  now: GasFees,
  { affordableWei, gasPriceWeiMax }: FeeBounds,
): GasFees | undefined {
  const maxPriorityFeePerGas = larger(raise(last.maxPriorityFeePerGas), now.maxPriorityFeePerGas)
  const maxFeePerGas = larger(raise(last.maxFeePerGas), larger(now.maxFeePerGas, maxPriorityFeePerGas))
  const isTooMuch = maxFeePerGas > affordableWei || maxFeePerGas > (gasPriceWeiMax ?? maxFeePerGas)
  return isTooMuch ? undefined : { maxFeePerGas, maxPriorityFeePerGas }
}

const ascending = (wei: readonly bigint[]) => wei.toSorted((a, b) => Number(a - b))
const smallest = (...wei: bigint[]): bigint => ascending(wei)[0] ?? 0n
const larger = (a: bigint, b: bigint): bigint => ascending([a, b])[1] ?? 0n
/** At least an eighth more, at least one wei. */
const raise = (wei: bigint) => wei + wei / 8n + 1n

/** Base fees rise by an eighth in a block: twenty full ones in a row. */
const feeHeadroom = 10n

/**
 * Room for what may change until the block; never more than any chain takes (EIP-7825).
 *
 * @param gasMax - And never more than this.
 * @throws ProtocolError `transaction_failed` where that is too little
 */
export function gasLimit(
  estimated: bigint,
  { label, gasMax = limits.transactionGasMax }: { label: string; gasMax?: bigint | undefined },
): bigint {
  if (estimated > gasMax) {
    throw new ProtocolError(
      'transaction_failed',
      `"${label}" needs ${estimated} gas, of ${gasMax} at most.`,
      {
        hint: 'Pay from an account that takes less to check.',
        details: { gasMax: gasMax.toString() },
      },
    )
  }
  const wanted = (estimated * 3n) / 2n + 10_000n
  return wanted < gasMax ? wanted : gasMax
}

/** A pool refuses what cannot pay, and no block would ever say what became of it. @throws ProtocolError `balance_too_low` */
export function assertPayable({
  neededWei,
  balanceWei,
  label,
}: {
  neededWei: bigint
  balanceWei: bigint
  label: string
}): void {
  if (neededWei <= balanceWei) return
  throw new ProtocolError('balance_too_low', `The account cannot pay the gas of "${label}".`, {
    hint: `Send it ETH: it has ${formatEther(balanceWei)} and may need ${formatEther(neededWei)}.`,
    details: { balanceWei: balanceWei.toString(), neededWei: neededWei.toString() },
  })
}

/** For log lines and people. */
export const formatGasPrice = (wei: bigint): string => `${formatGwei(wei)} gwei`
