import type { Hex } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import { assertFaultAllowed } from '../protocol/dev-chain.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { UpstreamExchange } from '../protocol/http/upstream.ts'
import { limits } from '../protocol/limits.ts'
import type { Ledger } from './ledger/ledger.ts'
import type { Instance } from './runtime/runtime.ts'

/**
 * Ways to lie on purpose, because half of this network is about catching liars. Dev chains only.
 *
 * - `wrong-id`: says that another program ran
 * - `flip-output`: changes a byte of every answer, and signs for it
 * - `silent`: takes calls and never answers
 * - `slow`: answers each call after a minute
 */
export const faults = ['wrong-id', 'flip-output', 'silent', 'slow'] as const
export type Fault = (typeof faults)[number]

/**
 * Reads `--fault`.
 *
 * @throws ProtocolError `config_invalid` for an unknown fault, `fault_refused` for any on a chain with real money
 */
export function parseFault(text: string, chainId: number): Fault {
  const fault = faults.find((name) => name === text)
  if (!fault) {
    throw new ProtocolError('config_invalid', `There is no fault "${text.slice(0, 40)}".`, {
      hint: `Faults: ${faults.join(', ')}.`,
    })
  }
  assertFaultAllowed(chainId)
  return fault
}

/** A program as a provider with this fault lets it answer. */
export function withFault(instance: Instance, fault: Fault | undefined, clock: Clock): Instance {
  const call = fault && faultyCalls[fault]?.(instance, clock)
  return call
    ? new Proxy(instance, {
        get: (target, name) => (name === 'call' ? call : Reflect.get(target, name, target)),
      })
    : instance
}

export const wrongId: Hex = `0x${'00'.repeat(32)}`

/** Votes for another program than the one that ran. */
export const withWrongId =
  (signVote: Ledger['signVote']): Ledger['signVote'] =>
  (vote) =>
    signVote({ ...vote, programId: wrongId })

type FaultyCall = (instance: Instance, clock: Clock) => Instance['call']

const faultyCalls: Readonly<Partial<Record<Fault, FaultyCall>>> = {
  'flip-output': (instance) => (request, handler) => {
    let isFlipped = false
    return instance.call(request, {
      ...handler,
      onData(chunk) {
        if (isFlipped || chunk.length === 0) return handler.onData(chunk)
        isFlipped = true
        const flipped = Buffer.from(chunk)
        flipped[0] = (flipped[0] as number) ^ 1
        handler.onData(flipped)
      },
    })
  },
  silent: () => () => ({ pause() {}, resume() {}, abort() {} }),
  slow: (instance, clock) => (request, handler) => {
    const over = new AbortController()
    let exchange: UpstreamExchange | undefined
    clock
      .sleep(limits.faultSlowMs, over.signal)
      .then(() => {
        exchange = instance.call(request, handler)
      })
      .catch(() => undefined)
    return {
      pause: () => exchange?.pause(),
      resume: () => exchange?.resume(),
      abort() {
        over.abort()
        exchange?.abort()
      },
    }
  },
}
