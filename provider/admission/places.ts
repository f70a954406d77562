import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { createFairQueue } from './fair-queue.ts'

/** What a call needs while it runs. */
export interface PlaceWish {
  readonly payer: Address
  /** Calls of one deployment run in one process. */
  readonly deployment: string
  /** Of that process, the runtime included. */
  readonly memoryMiB: number
  /** How many calls of the deployment may be in flight. */
  readonly concurrency: number
}

/** Disposing it, which may be done twice, lets the next one in. */
export type Place = Disposable

/**
 * The places for calls: for so many calls in all, so many of each deployment, and programs that may hold so much memory
 * together. Where they are taken, calls wait for a moment, in a short queue that serves payers in turn.
 */
export interface Places {
  /**
   * @throws ProtocolError `concurrency_reached` or `provider_busy` with `retryAfterSeconds` where there is none, now that
   * the queue is full or after a while; `limits_too_high` where there will never be.
   */
  take(wish: PlaceWish, signal: AbortSignal): Place | Promise<Place>
  /** Changes what all programs may hold together. Calls in flight stay. */
  setCapacity(capacityMiB: number): void
  status(): PlacesStatus
}

export interface PlacesStatus {
  readonly calls: number
  readonly waiting: number
  /** What programs with calls in flight may hold; those that are idle make room. */
  readonly memoryMiB: number
  readonly capacityMiB: number
}

export interface PlacesOptions {
  readonly capacityMiB: number
  readonly callsMax?: number
  readonly programsMax?: number
  readonly waitingMax?: number
  readonly waitingPerPayerMax?: number
  readonly waitMsMax?: number
}

interface Program {
  calls: number
  readonly memoryMiB: number
}

interface Waiter {
  readonly wish: PlaceWish
  readonly admit: (place: Place) => void
}

export function createPlaces(
  { clock }: { clock: Clock },
  {
    callsMax = limits.callsRunningPerProviderMax,
    programsMax = limits.instancesMax,
    waitingMax = limits.callsWaitingMax,
    waitingPerPayerMax = limits.callsWaitingPerPayerMax,
    waitMsMax = limits.callWaitMsMax,
    ...options
  }: PlacesOptions,
): Places {
  const programs = new Map<string, Program>()
  const queue = createFairQueue<Waiter>({ sizeMax: waitingMax, laneSizeMax: waitingPerPayerMax })
  let { capacityMiB } = options
  let calls = 0
  let memoryMiB = 0

  function lacking(wish: PlaceWish): 'concurrency' | 'calls' | 'memory' | undefined {
    const program = programs.get(wish.deployment)
    if (program && program.calls >= wish.concurrency) return 'concurrency'
    if (calls >= callsMax) return 'calls'
    if (program) return undefined
    return programs.size >= programsMax || memoryMiB + wish.memoryMiB > capacityMiB ? 'memory' : undefined
  }

  function occupy({ deployment, memoryMiB: needed }: PlaceWish): Place {
    let program = programs.get(deployment)
    if (!program) {
      program = { calls: 0, memoryMiB: needed }
      programs.set(deployment, program)
      memoryMiB += needed
    }
    program.calls += 1
    calls += 1
    let isHeld = true
    return {
      [Symbol.dispose]() {
        if (!isHeld) return
        isHeld = false
        leave(deployment, program)
      },
    }
  }

  function leave(deployment: string, program: Program): void {
    calls -= 1
    program.calls -= 1
    if (program.calls === 0) {
      programs.delete(deployment)
      memoryMiB -= program.memoryMiB
    }
    if (queue.size > 0) admitWaiting()
  }

  function admitWaiting(): void {
    const fits = ({ wish }: Waiter) => lacking(wish) === undefined
    for (let next = queue.take(fits); next; next = queue.take(fits)) next.admit(occupy(next.wish))
  }

  async function wait(wish: PlaceWish, signal: AbortSignal): Promise<Place> {
    const { promise, resolve } = Promise.withResolvers<Place>()
    const over = new AbortController()
    const waiter: Waiter = { wish, admit: resolve }
    if (!queue.add(wish.payer, waiter)) throw refusal(wish)
    const late = clock.sleep(waitMsMax, AbortSignal.any([over.signal, signal])).then(() => 'late' as const)
    try {
      const place = await Promise.race([promise, late])
      if (place !== 'late') return place
      throw refusal(wish)
    } catch (error) {
      queue.remove(wish.payer, waiter)
      // It may have been let in at the very moment in which it left.
      resolve({ [Symbol.dispose]: () => undefined })
      void promise.then((place) => place[Symbol.dispose]())
      throw error
    } finally {
      over.abort()
      late.catch(() => undefined)
    }
  }

  function refusal(wish: PlaceWish): ProtocolError {
    const retryAfterSeconds = limits.busyRetryAfterSeconds
    const facts = { hint: `Send it again in ${retryAfterSeconds} s.`, details: { retryAfterSeconds } }
    if (lacking(wish) === 'concurrency') {
      const { concurrency } = wish
      return new ProtocolError(
        'concurrency_reached',
        `The deployment has ${concurrency} calls in flight, as many as its owner allows.`,
        { ...facts, details: { ...facts.details, concurrency } },
      )
    }
    return new ProtocolError(
      'provider_busy',
      'The provider runs as many calls and programs as it may.',
      facts,
    )
  }

  return {
    take(wish, signal) {
      if (wish.memoryMiB > capacityMiB) throw neverFits(wish, capacityMiB)
      return lacking(wish) === undefined ? occupy(wish) : wait(wish, signal)
    },
    setCapacity(wanted) {
      capacityMiB = wanted
      admitWaiting()
    },
    status: () => ({ calls, waiting: queue.size, memoryMiB, capacityMiB }),
  }
}

function neverFits({ memoryMiB }: PlaceWish, capacityMiB: number): ProtocolError {
  return new ProtocolError(
    'limits_too_high',
    `With all its processes the program may hold ${memoryMiB} MiB, and all programs here ${capacityMiB} MiB together.`,
    {
      hint: 'Deploy it with less memoryMiB (or concurrency, where each call has its own process), or call another provider.',
      details: { capacityMiB },
    },
  )
}
