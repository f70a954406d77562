import type { Address } from 'viem'
import { callHeaders } from '../../protocol/call.ts'
import { type CallAttempt, parseAttempt } from '../../protocol/call-attempt.ts'
import { type ErrorCode, isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { gatewayHeaders } from '../../protocol/http/headers.ts'
import { isOfOneVoucher, meaningOf } from '../../protocol/refusal.ts'
import type { Answer } from './answer.ts'

/** One of several providers that may take a call. */
export interface Asked {
  readonly name: string
  readonly address: Address
}

export interface FirstAnswer {
  readonly answer: Answer
  /** Whom the call was offered to, in order; who answered is the last one. */
  readonly attempts: readonly CallAttempt[]
}

/**
 * Offers a call to one provider after the other, until one has it. The next one is asked only where the one before surely has not begun:
 * nothing had reached it, or it said no before anything ran.
 *
 * @param send - Makes the call at one of them, and says in `onSent` when it may have gone out.
 * @throws ProtocolError `call_in_doubt` where one had the call and nobody knows what became of it; why none took it
 */
export async function callFirstOf<T extends Asked>(
  asked: readonly T[],
  send: (provider: T, onSent: () => void) => Promise<Answer>,
): Promise<FirstAnswer> {
  const attempts: CallAttempt[] = []
  let refused: ProtocolError | undefined
  for (const provider of asked) {
    const { name, address } = provider
    const tried = await tryOne(provider, send)
    attempts.push({ name, address, outcome: tried.outcome, code: tried.code })
    if (tried.outcome === 'answered') return { answer: tried.answer, attempts }
    if (tried.outcome === 'doubtful') throw inDoubt(name, tried.error, attempts)
    refused ??= tried.error
  }
  const { code, message, hint, details } = refused as ProtocolError
  throw new ProtocolError(code, message, { hint, details: { ...details, attempts } })
}

type Tried =
  | { readonly outcome: 'answered'; readonly code?: ErrorCode; readonly answer: Answer }
  | {
      readonly outcome: 'refused' | 'unreached' | 'doubtful'
      readonly code: ErrorCode
      readonly error: ProtocolError
    }

async function tryOne<T extends Asked>(
  provider: T,
  send: (provider: T, onSent: () => void) => Promise<Answer>,
): Promise<Tried> {
  let isSent = false
  try {
    const answer = await send(provider, () => {
      isSent = true
    })
    return readAnswer(answer)
  } catch (error) {
    if (!isProtocolError(error)) throw error
    const { code } = error
    if (isSent && error.details['reached'] !== false) return { outcome: 'doubtful', code, error }
    if (!isSent && !ofProvider.has(code)) throw error
    return { outcome: 'unreached', code, error }
  }
}

/** What is the matter with one provider before anything is sent, and says nothing of the next one. */
const ofProvider: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'provider_unreachable',
  'provider_answer_invalid',
  'provider_offline',
  'price_above_cap',
  'grant_missing',
  'accounts_differ',
  'voucher_not_for_provider',
])

function readAnswer(answer: Answer): Tried {
  const { problem, header } = answer
  if (!problem || header(callHeaders.call) !== undefined) return { outcome: 'answered', answer }
  const { code, detail, hint, ...details } = problem
  const error = new ProtocolError(code, detail, { hint, details })
  // A gateway on the way says whether the provider had it.
  const told = parseAttempt(header(gatewayHeaders.attempt) ?? '')
  if (told?.outcome === 'unreached' || told?.outcome === 'doubtful')
    return { outcome: told.outcome, code, error }
  if (meaningOf(code) === undefined && !isOfOneVoucher(code)) return { outcome: 'answered', code, answer }
  return { outcome: 'refused', code, error }
}

const inDoubt = (name: string, cause: ProtocolError, attempts: readonly CallAttempt[]) =>
  new ProtocolError(
    'call_in_doubt',
    `${name} had the call and did not answer (${cause.code}): it may have run and charged for it.`,
    {
      hint: 'Nobody else was asked, so it is charged once at most. See "khachapuri statement" before you send it again.',
      details: { provider: name, cause: cause.code, attempts },
      cause,
    },
  )
