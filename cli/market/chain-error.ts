import {
  BaseError,
  decodeErrorResult,
  type Hex,
  HttpRequestError,
  InsufficientFundsError,
  TimeoutError,
} from 'viem'
import { devUsdcAbi, escrowAbi, registryAbi, resolverAbi } from '../../protocol/chain/contracts.ts'
import { type ErrorCode, isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { formatUsdc, usdc } from '../../protocol/usdc.ts'

const errorsAbi = [...escrowAbi, ...registryAbi, ...resolverAbi, ...devUsdcAbi].filter(
  ({ type }) => type === 'error',
)

type Explanation = readonly [code: ErrorCode, message: string, hint: string]

const asUsdc = (value: unknown) => `${formatUsdc(usdc(BigInt(value as bigint)))} USDC`
const asTime = (value: unknown) => new Date(Number(value) * 1000).toISOString()

/** What the contracts refuse, in the words of whoever asked for it. */
const explanations: Readonly<Record<string, (args: readonly unknown[]) => Explanation>> = {
  BalanceTooLow: ([balance, needed]) => [
    'balance_too_low',
    `The account has ${asUsdc(balance)} free in the escrow and needs ${asUsdc(needed)}.`,
    'Deposit more with "khachapuri deposit".',
  ],
  ERC20InsufficientBalance: ([, balance, needed]) => [
    'balance_too_low',
    `The account has ${asUsdc(balance)} in its wallet and needs ${asUsdc(needed)}.`,
    'Send USDC to the account; on a development chain use "khachapuri faucet".',
  ],
  TermsCut: () => [
    'transaction_failed',
    'The grant that is open has better terms in some point, and an open grant can only be improved.',
    'Revoke it, reclaim it after the notice, and approve anew; see "khachapuri allowance".',
  ],
  GrantMissing: () => [
    'grant_missing',
    'There is no open grant for this provider.',
    'See "khachapuri allowance".',
  ],
  GrantEnded: ([expiry]) => [
    'grant_expired',
    `The grant has ended already, at ${asTime(expiry)}.`,
    'Get the rest back with "khachapuri reclaim", once the notice has passed.',
  ],
  NoticeRunning: ([from]) => [
    'transaction_failed',
    `The provider may settle until ${asTime(from)}, so nothing can be reclaimed before.`,
    'Revoke the grant if that is not done yet, and try again then.',
  ],
  ExpiryPassed: ([expiry]) => [
    'usage_invalid',
    `The expiry ${asTime(expiry)} has passed.`,
    'Choose a later --expiry.',
  ],
  OutOfRange: ([value, valueMax]) => [
    'usage_invalid',
    `${value} is more than ${valueMax}.`,
    'Choose a smaller amount.',
  ],
  PriceZero: () => [
    'usage_invalid',
    'At a price of zero nothing could be collected.',
    'Choose a --price above zero.',
  ],
  NodeTaken: ([, owner]) => ['name_taken', `The name belongs to ${owner}.`, 'Choose another name.'],
  NotNodeOwner: ([, owner]) => [
    'name_taken',
    `The name belongs to ${owner}.`,
    'Use the account that owns it.',
  ],
  NotOwner: () => [
    'transaction_failed',
    'The resolver belongs to another account.',
    'Use the account that made it.',
  ],
}

/** Turns what viem throws into what a person can act on. `what` is the step that failed. */
export function explainChainError(error: unknown, what: string): ProtocolError {
  if (isProtocolError(error)) return error
  const root = error instanceof BaseError ? error : undefined
  if (root?.walk((part) => part instanceof InsufficientFundsError)) {
    return new ProtocolError(
      'balance_too_low',
      `The account has not enough ETH to pay the gas of "${what}".`,
      {
        hint: 'Send it some; on a development chain use "khachapuri faucet".',
        cause: error,
      },
    )
  }
  if (root?.walk((part) => part instanceof HttpRequestError || part instanceof TimeoutError)) {
    return new ProtocolError('chain_unreachable', 'The chain does not answer.', {
      hint: 'Try again later.',
      cause: error,
    })
  }
  const refusal = explainRevert(root)
  const [code, message, hint] = refusal ?? [
    'transaction_failed' as const,
    `The chain refuses "${what}": ${root?.shortMessage ?? String(error)}`,
    'Check the account and the amounts, and try again.',
  ]
  return new ProtocolError(code, message, { hint, cause: error })
}

function explainRevert(error: BaseError | undefined): Explanation | undefined {
  const data = findRevertData(error)
  if (!data) return undefined
  try {
    const { errorName, args = [] } = decodeErrorResult({ abi: errorsAbi, data })
    const explain = explanations[errorName]
    const shown = args.map((arg) => String(arg)).join(', ')
    return (
      explain?.(args) ?? [
        'transaction_failed',
        `The contract refuses: ${errorName}(${shown}).`,
        'See its interface.',
      ]
    )
  } catch {
    // A revert of somebody else's contract: it has no words of ours.
    return undefined
  }
}

/** Providers put a revert's bytes in several places. */
function findRevertData(error: BaseError | undefined): Hex | undefined {
  for (let part: unknown = error; typeof part === 'object' && part !== null; part = (part as Error).cause) {
    const { data } = part as { data?: unknown }
    const hex = typeof data === 'object' && data !== null ? (data as { data?: unknown }).data : data
    if (typeof hex === 'string' && /^0x[0-9a-f]{8,}$/i.test(hex)) return hex as Hex
  }
  return undefined
}
