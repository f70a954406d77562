import { raceSignal } from '../../protocol/base/signal.ts'

/** One at a time for each name; who comes later waits. */
export interface Holds {
  /** Waits for the name to be free, and takes it. Disposal gives it to the next in line. @throws the reason of `signal` */
  take(name: string, signal: AbortSignal): Promise<Disposable>
}

export function createHolds(): Holds {
  const held = new Map<string, Promise<void>>()
  return {
    async take(name, signal) {
      for (;;) {
        signal.throwIfAborted()
        const left = held.get(name)
        if (!left) break
        await raceSignal(left, signal)
      }
      const { promise, resolve } = Promise.withResolvers<void>()
      held.set(name, promise)
      return {
        [Symbol.dispose]() {
          if (held.get(name) === promise) held.delete(name)
          resolve()
        },
      }
    },
  }
}
