import type { Clock } from '../protocol/base/clock.ts'

/** What a person sees of a start: each step as it begins, and how long it took. */
export interface Console {
  step(name: string): void
  done(text: string): void
  note(text: string): void
}

const labels: Readonly<Record<string, string>> = {
  chain: 'Starting a chain',
  contracts: 'Deploying the contracts',
  gateway: 'Starting the gateway with its keeper and IPFS node',
  providers: 'Starting the providers alice and bob (keys, Resolver, registration, programs)',
  money: 'Funding developer and payer, approving grants',
  examples: 'Deploying the examples with "khachapuri deploy"',
  guests: 'Starting carol, dave and erin, and deploying "factor" to all five',
  calls: 'Making calls that are paid in four ways, and settling them on chain',
}

export function createConsole({ clock, write }: { clock: Clock; write: (text: string) => void }): Console {
  const startedMs = clock.monotonicMs()
  let stepStartedMs: number | undefined
  const seconds = (sinceMs: number) => `${((clock.monotonicMs() - sinceMs) / 1000).toFixed(1)} s`
  const endStep = () => {
    if (stepStartedMs !== undefined) write(`  ${seconds(stepStartedMs)}\n`)
    stepStartedMs = undefined
  }
  return {
    step(name) {
      endStep()
      stepStartedMs = clock.monotonicMs()
      write(`${labels[name] ?? name} …`)
    },
    done(text) {
      endStep()
      write(`Ready after ${seconds(startedMs)}.\n\n${text}\n`)
    },
    note: (text) => write(`${text}\n`),
  }
}
