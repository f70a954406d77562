import type { Hex } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { limits } from '../../protocol/limits.ts'

/** Calls of a deployment within the window, and how many of them failed by its own fault. */
export interface FaultRate {
  readonly calls: number
  readonly faults: number
}

/** Counts calls over a window that slides by a tenth of itself. */
export interface FaultRates {
  /** @returns the rate with this call in it */
  add(spec: Hex, call: { isFault: boolean; windowMs: number }): FaultRate
  forget(spec: Hex): void
}

interface Slice {
  readonly index: number
  calls: number
  faults: number
}

const slicesPerWindow = 10

export function createFaultRates({ clock }: { clock: Clock }): FaultRates {
  const deployments = createRecent<Hex, readonly Slice[]>(limits.faultRatesKeptMax)
  return {
    add(spec, { isFault, windowMs }) {
      const index = Math.floor(clock.monotonicMs() / (windowMs / slicesPerWindow))
      const slices = (deployments.get(spec) ?? []).filter(
        (slice) => slice.index <= index && slice.index > index - slicesPerWindow,
      )
      let current = slices.at(-1)
      if (current?.index !== index) {
        current = { index, calls: 0, faults: 0 }
        slices.push(current)
      }
      current.calls += 1
      if (isFault) current.faults += 1
      deployments.set(spec, slices)
      const sum = (name: 'calls' | 'faults') => slices.reduce((total, slice) => total + slice[name], 0)
      return { calls: sum('calls'), faults: sum('faults') }
    },
    forget: (spec) => deployments.delete(spec),
  }
}
