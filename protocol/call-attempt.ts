import { type Address, getAddress, isAddress } from 'viem'
import { type ErrorCode, errorTable } from './errors.ts'

/** How it ended with one of several providers that a call was offered to. */
export type AttemptOutcome =
  /** It has the call: its receipt says what that cost. */
  | 'answered'
  /** It said no before anything ran. */
  | 'refused'
  /** It surely never had the call. */
  | 'unreached'
  /** It had the call, and nobody knows what it did with it: the call goes to nobody else. */
  | 'doubtful'

/**
 * One provider to which a call was offered, as `Khachapuri-Attempt` says it, once for each and in their order. It is the word of whoever
 * chose the providers; what it says of money the books of the provider must bear out.
 */
export interface CallAttempt {
  readonly name: string
  readonly address: Address
  readonly outcome: AttemptOutcome
  /** Why, unless it answered. */
  readonly code?: ErrorCode | undefined
}

/** `alice; 0x…; refused:provider_busy`, `bob; 0x…; answered` */
export const formatAttempt = ({ name, address, outcome, code }: CallAttempt): string =>
  `${name}; ${address}; ${outcome}${code === undefined ? '' : `:${code}`}`

/** @returns undefined for anything else */
export function parseAttempt(text: string): CallAttempt | undefined {
  const [, name, address = '', outcome, code] =
    /^([a-z0-9-]{1,64}); (0x[0-9a-fA-F]{40}); (answered|refused|unreached|doubtful)(?::([a-z0-9_]{1,64}))?$/.exec(
      text,
    ) ?? []
  if (name === undefined || !isAddress(address)) return undefined
  if (code !== undefined && !Object.hasOwn(errorTable, code)) return undefined
  return {
    name,
    address: getAddress(address),
    outcome: outcome as AttemptOutcome,
    ...(code !== undefined && { code: code as ErrorCode }),
  }
}
