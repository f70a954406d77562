import { raceSignal } from '../base/signal.ts'

/** Lets callers who want the same thing at the same time share one piece of work. */
export interface SingleFlight<T> {
  /**
   * Joins the work under `key`, or starts it. A caller that gives up does not disturb the others; when the last has
   * gone, the work's own signal aborts.
   */
  join(key: string, work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T>
}

export function createSingleFlight<T>(): SingleFlight<T> {
  const flights = new Map<
    string,
    { readonly result: Promise<T>; readonly stop: AbortController; callers: number }
  >()
  const start = (key: string, work: (signal: AbortSignal) => Promise<T>) => {
    const stop = new AbortController()
    const flight = { result: work(stop.signal), stop, callers: 0 }
    flights.set(key, flight)
    const end = () => {
      if (flights.get(key) === flight) flights.delete(key)
    }
    flight.result.then(end, end)
    return flight
  }
  return {
    async join(key, work, signal) {
      signal.throwIfAborted()
      const flight = flights.get(key) ?? start(key, work)
      flight.callers += 1
      try {
        return await raceSignal(flight.result, signal)
      } finally {
        flight.callers -= 1
        if (flight.callers === 0) {
          // Whoever comes next must not join what is being stopped.
          if (flights.get(key) === flight) flights.delete(key)
          flight.stop.abort(new Error('Nobody waits for this any more.'))
        }
      }
    },
  }
}
