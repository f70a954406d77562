import { limits } from '../../protocol/limits.ts'

/** What a call may use of the network. */
export interface EgressAllowance {
  readonly requests: number
  /** Heads and bodies, both with what is inside tunnels. */
  readonly sentBytes: number
  readonly receivedBytes: number
}

export type EgressResource = keyof EgressAllowance

/**
 * What a program may still use. Nobody can tell which call a request belongs to, so calls that run together use what
 * they have together; what is left when they have ended is not saved up.
 */
export interface EgressBudget {
  callBegan(): void
  callEnded(): void
  /** Takes as much. Where less is left, nothing is from then on, until the next call. @returns whether it was there. */
  take(resource: EgressResource, amount: number): boolean
  /** Takes a request, where something of everything is left for it. @returns what is not. */
  takeRequest(): EgressResource | undefined
  /** All that was taken so far. */
  readonly used: EgressAllowance
  /** How often something was refused, and what the last time. */
  readonly breaches: number
  readonly lastBreach: EgressResource | undefined
}

export const allowancePerCall: EgressAllowance = {
  requests: limits.egressRequestsPerCallMax,
  sentBytes: limits.egressSentBytesPerCallMax,
  receivedBytes: limits.egressReceivedBytesPerCallMax,
}

export function addAllowances(a: EgressAllowance, b: EgressAllowance | undefined): EgressAllowance {
  if (!b) return a
  return {
    requests: a.requests + b.requests,
    sentBytes: a.sentBytes + b.sentBytes,
    receivedBytes: a.receivedBytes + b.receivedBytes,
  }
}

/** What happened, as a sentence. */
export function describeBreach(resource: EgressResource): string {
  return `The program has ${words[resource]} as its calls may.`
}

const words: Readonly<Record<EgressResource, string>> = {
  requests: 'made as many requests',
  sentBytes: 'sent as many bytes',
  receivedBytes: 'received as many bytes',
}

const resources = ['requests', 'sentBytes', 'receivedBytes'] as const satisfies EgressResource[]

export function createEgressBudget(perCall: EgressAllowance = allowancePerCall): EgressBudget {
  const left = { requests: 0, sentBytes: 0, receivedBytes: 0 }
  const used = { requests: 0, sentBytes: 0, receivedBytes: 0 }
  let calls = 0
  let breaches = 0
  let lastBreach: EgressResource | undefined

  /** @param callsMax - For so many calls what is left may be. */
  function bound(callsMax: number): void {
    for (const resource of resources) left[resource] = Math.min(left[resource], callsMax * perCall[resource])
  }

  function refuse(resource: EgressResource): void {
    breaches++
    lastBreach = resource
    left[resource] = 0
  }

  function take(resource: EgressResource, amount: number): boolean {
    if (left[resource] < amount) {
      refuse(resource)
      return false
    }
    left[resource] -= amount
    used[resource] += amount
    return true
  }

  return {
    callBegan() {
      calls++
      for (const resource of resources) left[resource] += perCall[resource]
      bound(calls)
    },
    callEnded() {
      calls--
      // Work that goes on after an answer has what its call has left.
      bound(Math.max(1, calls))
    },
    take,
    takeRequest() {
      const lacking = resources.find((resource) => left[resource] === 0)
      if (lacking) refuse(lacking)
      else take('requests', 1)
      return lacking
    },
    get used() {
      return { ...used }
    },
    get breaches() {
      return breaches
    },
    get lastBreach() {
      return lastBreach
    },
  }
}
