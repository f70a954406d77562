import { hash } from 'node:crypto'
import type { Hex } from 'viem'

/**
 * One HTTP request to a deployment, and its answer. 32 bytes, lower-case `0x…`, that nobody guesses: whoever has them may
 * read the receipt. The first six are the milliseconds since 1970, for the sake of indexes; nobody may rely on that.
 */
export type CallId = Hex

/** Response headers of this network; a program cannot set them, a caller cannot spoof them. */
export const callHeaders = {
  call: 'khachapuri-call',
  price: 'khachapuri-price',
  /** Who is charged: `owner`, or how the caller pays: `pass`, `voucher`, `x402`, `trial`. */
  payer: 'khachapuri-payer',
  /**
   * See `formatSignedReceipt`. Behind an answer whose head was out before the call ended it is a trailer, and where there is
   * no place for trailers, `/_/receipts/<call>` has it.
   */
  receipt: 'khachapuri-receipt',
  replayed: 'khachapuri-replayed',
  /** All that was charged to the voucher's grant, this call included, in base units. */
  spent: 'khachapuri-spent',
  /** All calls that were charged to the voucher's grant, this one included. */
  calls: 'khachapuri-calls',
  /** Seconds since the provider last heard from the chain; only where it does not answer. */
  chainAge: 'khachapuri-chain-age',
} as const

/** Request headers by which a `wasm` program is told its time and its seed. */
export const recordHeaders = {
  /** 64 hex digits. */
  seed: 'khachapuri-seed',
  /** When the call started, in milliseconds since 1970. */
  started: 'khachapuri-started',
} as const

/**
 * How a call ended, by the code in its receipt. Codes are wire format.
 *
 * `platform_fault` is never charged; nor is `payment_failed`, where the chain refused an x402 payment after the call, nor
 * `outvoted`, where nobody showed that enough members of a swarm had the same answer; the program faults are charged to an owner who pays for its own deployment, and to
 * nobody else.
 */
export const outcomes = {
  answered: 0,
  program_crashed: 1,
  program_timeout: 2,
  program_out_of_memory: 3,
  program_output_too_large: 4,
  program_output_invalid: 5,
  caller_gone: 6,
  platform_fault: 7,
  payment_failed: 8,
  program_egress_exceeded: 9,
  program_out_of_cpu: 10,
  program_out_of_pids: 11,
  program_headers_too_large: 12,
  outvoted: 13,
} as const
export type Outcome = keyof typeof outcomes

/** By code. */
export const outcomeNames: ReadonlyMap<number, Outcome> = new Map(
  Object.entries(outcomes).map(([name, code]) => [code, name as Outcome]),
)

/** What a call with this outcome costs. */
export function isCharged(outcome: Outcome, payerIsOwner: boolean): boolean {
  if (outcome === 'answered' || outcome === 'caller_gone') return true
  const isNeverCharged = ['platform_fault', 'payment_failed', 'outvoted'].includes(outcome)
  return !isNeverCharged && payerIsOwner
}

/**
 * Binds a receipt to what was asked: `sha256("<method> <target>\n<hex sha256 of body>\n")`. Of a body that was not read to
 * its end, because the call was over before, the receipt says nothing: `-` stands in the place of its hash. Only the two
 * ends together know how much was read, so a hash of that would be one that nobody can check.
 */
export function hashRequest({
  method,
  target,
  bodyDigest,
}: {
  method: string
  target: string
  /** Undefined where the body was not read to its end. */
  bodyDigest: Uint8Array | undefined
}): Hex {
  const body = bodyDigest ? Buffer.from(bodyDigest).toString('hex') : '-'
  return `0x${hash('sha256', `${method} ${target}\n${body}\n`, 'hex')}`
}

/** `Content-Digest` (RFC 9530) of a whole body. */
export function formatContentDigest(digest: Uint8Array): string {
  return `sha-256=:${Buffer.from(digest).toString('base64')}:`
}
