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
  /** Of that process while it is busy; of all of them where each call has one. */
  readonly cores: number
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
  setCapacity(capacity: Capacity): void
  status(): PlacesStatus
}

/** What is given away to all programs together. */
export interface Capacity {
  readonly memoryMiB: number
  readonly cores: number
}

export interface PlacesStatus {
  readonly calls: number
  readonly waiting: number
  /** What programs with calls in flight may hold; those that are idle make room. */
  readonly memoryMiB: number
  readonly cores: number
  readonly capacity: Capacity
}

export interface PlacesOptions {
  readonly capacity: Capacity
  readonly callsMax?: number
  readonly programsMax?: number
  readonly waitingMax?: number
  readonly waitingPerPayerMax?: number
  readonly waitMsMax?: number
}

interface Program {
  calls: number
  readonly memoryMiB: number
  readonly cores: number
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
  let { capacity } = options
  let calls = 0
  let memoryMiB = 0
  let cores = 0

  function lacking(wish: PlaceWish): 'concurrency' | 'calls' | 'capacity' | undefined {
    const program = programs.get(wish.deployment)
    if (program && program.calls >= wish.concurrency) return 'concurrency'
    if (calls >= callsMax) return 'calls'
    if (program) return undefined
    const fits = memoryMiB + wish.memoryMiB <= capacity.memoryMiB && cores + wish.cores <= capacity.cores
    return fits && programs.size < programsMax ? undefined : 'capacity'
  }

  function occupy({ deployment, memoryMiB: neededMiB, cores: neededCores }: PlaceWish): Place {
    let program = programs.get(deployment)
    if (!program) {
      program = { calls: 0, memoryMiB: neededMiB, cores: neededCores }
      programs.set(deployment, program)
      memoryMiB += neededMiB
      cores += neededCores
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
      cores -= program.cores
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
      if (wish.memoryMiB > capacity.memoryMiB || wish.cores > capacity.cores) throw neverFits(wish, capacity)
      return lacking(wish) === undefined ? occupy(wish) : wait(wish, signal)
    },
    setCapacity(wanted) {
      capacity = wanted
      admitWaiting()
    },
    status: () => ({ calls, waiting: queue.size, memoryMiB, cores, capacity }),
  }
}

function neverFits(wish: PlaceWish, capacity: Capacity): ProtocolError {
  const given = { memoryMiB: Math.min(capacity.memoryMiB, 2 ** 24), cores: Math.min(capacity.cores, 2 ** 16) }
  const [needed, all] =
    wish.memoryMiB > capacity.memoryMiB
      ? [`${wish.memoryMiB} MiB`, `${given.memoryMiB} MiB`]
      : [`${wish.cores} cores`, given.cores === 1 ? 'one core' : `${given.cores} cores`]
  return new ProtocolError(
    'limits_too_high',
    `With all its processes the program may use ${needed}, and all programs here ${all} together.`,
    {
      hint: 'Deploy it with less memoryMiB (or concurrency, where each call has its own process), or call another provider.',
      details: { capacity: given },
    },
  )
}
