import { BaseError, decodeErrorResult, type Hex, InsufficientFundsError } from 'viem'
import { type ErrorCode, isProtocolError, ProtocolError } from '../errors.ts'
import { formatUsdc, usdc } from '../usdc.ts'
import { devUsdcAbi, escrowAbi, registryAbi, resolverAbi } from './contracts.ts'

/**
 * Turns what viem throws into what a person can act on.
 *
 * @param what - The step that failed, such as `settle 12 payers`.
 * @returns ProtocolError `chain_unreachable` where the chain gave no answer, `chain_disputed` where it gave two; `balance_too_low`, `name_taken`,
 * `grant_missing`, `grant_expired`, `transaction_failed` where it said no.
 */
export function toChainError(error: unknown, what: string): ProtocolError {
  const own = findOwnError(error)
  if (own) return own
  const data = findRevertData(error)
  const refusal = data && explainRevert(data)
  if (refusal) {
    const [code, message, hint] = refusal
    return new ProtocolError(code, message, { hint, cause: error })
  }
  const root = error instanceof BaseError ? error : undefined
  if (root?.walk((part) => part instanceof InsufficientFundsError)) {
    return new ProtocolError('balance_too_low', `The account cannot pay the gas of "${what}".`, {
      hint: 'Send it some ETH.',
      cause: error,
    })
  }
  if (data !== undefined || root?.walk(isRefusal)) {
    return new ProtocolError('transaction_failed', `The chain refuses "${what}".`, {
      hint: 'Check the account and the amounts.',
      details: { reason: root?.shortMessage.slice(0, 200) },
      cause: error,
    })
  }
  return new ProtocolError('chain_unreachable', `The chain does not answer to "${what}".`, {
    hint: 'Check the address of its JSON-RPC server, or try again later.',
    cause: error,
  })
}

/** Whether the chain said nothing that can be relied on; everything else is an answer. */
export const isChainTrouble = (error: unknown): boolean =>
  isProtocolError(error) && (error.code === 'chain_unreachable' || error.code === 'chain_disputed')

/** What was thrown below viem, which wraps it. */
function findOwnError(error: unknown): ProtocolError | undefined {
  for (let part = error; part instanceof Error; part = part.cause) if (isProtocolError(part)) return part
  return undefined
}

/** An answer of the EVM or of the transaction pool; everything else is trouble on the way. */
function isRefusal(part: unknown): boolean {
  const names = ['ExecutionRevertedError', 'NonceTooLowError', 'IntrinsicGasTooLowError', 'FeeCapTooLowError']
  return part instanceof Error && names.includes(part.name)
}

type Explanation = readonly [code: ErrorCode, message: string, hint: string]

const asUsdc = (value: unknown) => `${formatUsdc(usdc(BigInt.asUintN(64, value as bigint)))} USDC`
const asTime = (value: unknown) => new Date(Number(value) * 1000).toISOString()

const explanations: Readonly<Record<string, (args: readonly unknown[]) => Explanation>> = {
  BalanceTooLow: ([balance, needed]) => [
    'balance_too_low',
    `The account has ${asUsdc(balance)} free in the escrow and needs ${asUsdc(needed)}.`,
    'Deposit more; what a grant reserves is free again once it was revoked and reclaimed.',
  ],
  AmountZero: () => ['transaction_failed', 'An amount of 0 moves nothing.', 'Name a larger one.'],
  ERC20InsufficientBalance: ([, balance, needed]) => [
    'balance_too_low',
    `The account has ${asUsdc(balance)} in its wallet and needs ${asUsdc(needed)}.`,
    'Send USDC to the account.',
  ],
  ERC20InsufficientAllowance: ([, allowed, needed]) => [
    'transaction_failed',
    `The escrow may take ${asUsdc(allowed)} from the wallet and needs ${asUsdc(needed)}.`,
    'Approve the escrow at the token first.',
  ],
  TermsCut: () => [
    'transaction_failed',
    'The open grant has better terms in some point, and an open grant can only be improved.',
    'Revoke it, reclaim it after the notice, and approve anew.',
  ],
  GrantMissing: () => ['grant_missing', 'There is no open grant for this provider.', 'Approve one.'],
  GrantEnded: ([expiry]) => [
    'grant_expired',
    `The grant has ended already, at ${asTime(expiry)}.`,
    'Reclaim the rest once the notice has passed.',
  ],
  NoticeRunning: ([from]) => [
    'transaction_failed',
    `The provider may settle until ${asTime(from)}, so nothing can be reclaimed before.`,
    'Revoke the grant if that is not done yet ("khachapuri revoke"), and try again then.',
  ],
  DeadlinePassed: ([deadline]) => [
    'transaction_failed',
    `What was signed had to be done by ${asTime(deadline)}.`,
    'Sign it again with a later deadline.',
  ],
  SignatureInvalid: ([account]) => [
    'transaction_failed',
    `This is not what ${account} signed, or it was done already.`,
    'Sign it again with the next nonce.',
  ],
  NothingSpent: () => [
    'transaction_failed',
    'Only who paid this provider may rate it.',
    'Name the signer of the grant that paid.',
  ],
  ERC3009UsedAuthorization: () => [
    'transaction_failed',
    'The authorisation was used or cancelled already.',
    'Look at the balance: the deposit may be there.',
  ],
  NodeTaken: ([, owner]) => ['name_taken', `The name belongs to ${owner}.`, 'Choose another name.'],
  NodeInQuarantine: ([, from]) => [
    'name_taken',
    `The name was given back or has lapsed, and is nobody's until ${asTime(from)}.`,
    'Choose another name, or register it then.',
  ],
  NodeExpired: ([, expiry]) => [
    'transaction_failed',
    `The name has expired, at ${asTime(expiry)}.`,
    'Renew it first: starting its provider does.',
  ],
  CommitmentTooNew: ([, from]) => [
    'transaction_failed',
    `The name can be registered from ${asTime(from)} on.`,
    'Register it then: a name is committed to a minute before.',
  ],
  NotNodeOwner: ([, owner]) => [
    'name_taken',
    `The name belongs to ${owner}.`,
    'Use the account that owns it.',
  ],
}

const errorsAbi = [...escrowAbi, ...registryAbi, ...resolverAbi, ...devUsdcAbi].filter(
  ({ type }) => type === 'error',
)

function explainRevert(data: Hex): Explanation | undefined {
  try {
    const { errorName, args = [] } = decodeErrorResult({ abi: errorsAbi, data })
    const shown = args.map((arg) => (typeof arg === 'object' ? '…' : String(arg))).join(', ')
    return (
      explanations[errorName]?.(args) ?? [
        'transaction_failed',
        `The contract refuses: ${errorName}(${shown}).`,
        'Check the account and the amounts.',
      ]
    )
  } catch {
    // A revert of somebody else's contract has no words of ours.
    return undefined
  }
}

/** RPC servers put the bytes of a revert in several places. */
function findRevertData(error: unknown): Hex | undefined {
  for (let part = error; typeof part === 'object' && part !== null; part = (part as Error).cause) {
    const { data } = part as { data?: unknown }
    const hex = typeof data === 'object' && data !== null ? (data as { data?: unknown }).data : data
    if (typeof hex === 'string' && /^0x([0-9a-f]{2}){4,}$/i.test(hex)) return hex as Hex
  }
  return undefined
}
