import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Journal } from './journal.ts'
import type { FoundKey, KeyScope, StoredAnswer } from './records.ts'

export interface KeyRequest extends KeyScope {
  readonly requestDigest: Hex
}

export type KeyClaim =
  | { readonly kind: 'claimed'; readonly key: ClaimedKey }
  | { readonly kind: 'stored'; readonly callId: Hex; readonly answer: StoredAnswer }

/** The right to run the one call of an `Idempotency-Key`. Leaving without a charge gives it to the next in line. */
export interface ClaimedKey extends Disposable {
  readonly request: KeyRequest
}

/** What the same `Idempotency-Key` will get again; without an answer (too large) only the key is kept. */
export interface KeptAnswer {
  readonly key: ClaimedKey
  readonly answer: StoredAnswer | undefined
}

/** Who runs the call of an `Idempotency-Key`, and who waits for its answer. */
export interface KeyDesk {
  /**
   * Claims a key, waits for the call that holds it, or finds its stored answer.
   *
   * @throws ProtocolError `idempotency_conflict` for another request under the key, `idempotency_answer_gone` where the
   * call was charged and its answer was too large to keep, `ledger_unavailable`
   */
  claim(request: KeyRequest, signal: AbortSignal): Promise<KeyClaim>
}

interface Holder {
  readonly requestDigest: Hex
  readonly left: Promise<void>
}

export function createKeyDesk({ journal, clock }: { journal: Journal; clock: Clock }): KeyDesk {
  const holders = new Map<string, Holder>()

  function hold(id: string, request: KeyRequest): ClaimedKey {
    const { promise: left, resolve } = Promise.withResolvers<void>()
    holders.set(id, { requestDigest: request.requestDigest, left })
    return {
      request,
      [Symbol.dispose]() {
        if (holders.get(id)?.left === left) holders.delete(id)
        resolve()
      },
    }
  }

  /** Holds the key while it looks, so that two equal requests never both find nothing. */
  async function lookUp(id: string, request: KeyRequest): Promise<KeyClaim> {
    const held = hold(id, request)
    try {
      const { payer, deployment, key } = request
      const found = await journal.query('readKey', { payer, deployment, key, nowMs: clock.nowMs() })
      if (!found) return { kind: 'claimed', key: held }
      held[Symbol.dispose]()
      return replay(found, request)
    } catch (error) {
      held[Symbol.dispose]()
      throw error
    }
  }

  return {
    async claim(request, signal) {
      const id = JSON.stringify([request.payer, request.deployment, request.key])
      for (;;) {
        signal.throwIfAborted()
        const holder = holders.get(id)
        if (!holder) return lookUp(id, request)
        if (holder.requestDigest !== request.requestDigest) throw conflict()
        await raceSignal(holder.left, signal)
      }
    },
  }
}

function replay(found: FoundKey, { requestDigest }: KeyRequest): KeyClaim {
  if (found.requestDigest !== requestDigest) throw conflict()
  const { callId, answer } = found
  if (answer) return { kind: 'stored', callId, answer }
  throw new ProtocolError('idempotency_answer_gone', 'The call was made and its answer was not kept.', {
    hint: 'Its receipt says what became of it. Use a new Idempotency-Key to call again, at the price of a call.',
    details: { callId },
  })
}

const conflict = () =>
  new ProtocolError('idempotency_conflict', 'Another request was sent under this Idempotency-Key.', {
    hint: 'Use a new key for a new request.',
  })
