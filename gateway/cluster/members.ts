import type { Address } from 'viem'
import { z } from 'zod'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'

/** What a gateway says of itself to the others. */
export const memberSchema = z.object({
  /** Where it takes requests of other gateways. */
  hopUrl: z.url({ protocol: /^http$/ }).max(512),
  /** Where providers dial it. */
  tunnel: z.url({ protocol: /^wss?$/ }).max(512),
})
export type MemberFacts = z.output<typeof memberSchema>

export interface Member extends MemberFacts {
  readonly nodeId: string
}

/** Which gateways there are, and which of them has whose tunnels, as far as this one has heard. */
export interface Members {
  /** Takes in a sign of life. The one that was kept from before is none: it may be of a gateway that died long ago. */
  hear(nodeId: string, facts: MemberFacts, options: { readonly isNew: boolean }): void
  route(provider: Address, nodeId: string, isThere: boolean): void
  /**
   * Remembers somebody who has left a word, so that it is forgotten with all others that say nothing for long.
   *
   * @returns false where there are as many as are taken
   */
  note(nodeId: string): boolean
  /** It cannot be reached now; it counts again with its next sign of life. */
  suspect(nodeId: string): void
  /** @returns whose routes led to it */
  forget(nodeId: string): readonly Address[]
  /** Everybody gets another moment: it was we who could not hear. */
  pardon(): void
  live(): readonly Member[]
  homesOf(provider: Address): readonly Member[]
  /** Gateways that have said nothing for long, whose words can be thrown away. */
  gone(): readonly string[]
}

interface State {
  /** Undefined for one of which there are only routes or words: it died before it was heard of here. */
  facts: MemberFacts | undefined
  /** Monotonic; undefined before the first sign of life that is news. */
  heardMs: number | undefined
  knownMs: number
}

/** What it remembers is bounded: whoever can write into the store can make up members and routes. */
export function createMembers({ clock, log }: { readonly clock: Clock; readonly log: Log }): Members {
  const states = new Map<string, State>()
  const homes = new Map<Address, Set<string>>()
  let routes = 0
  let isCrowdTold = false

  const isLive = ({ heardMs }: State): boolean =>
    heardMs !== undefined && clock.monotonicMs() - heardMs < limits.clusterSilenceMsMax
  const find = (nodeId: string): Member[] => {
    const state = states.get(nodeId)
    return state?.facts && isLive(state) ? [{ nodeId, ...state.facts }] : []
  }

  const refuse = (): void => {
    if (isCrowdTold) return
    isCrowdTold = true
    const { clusterMembersMax: membersMax, clusterRoutesMax: routesMax } = limits
    log.error('cluster_crowded', {
      ...{ membersMax, routesMax },
      hint: 'Somebody writes into the store who is no gateway, or there are too many of them.',
    })
  }

  const stateOf = (nodeId: string): State | undefined => {
    const known = states.get(nodeId)
    if (known) return known
    if (states.size >= limits.clusterMembersMax) {
      refuse()
      return undefined
    }
    const state = { facts: undefined, heardMs: undefined, knownMs: clock.monotonicMs() }
    states.set(nodeId, state)
    return state
  }

  const dropRoute = (provider: Address, nodeId: string): boolean => {
    const nodes = homes.get(provider)
    if (!nodes?.delete(nodeId)) return false
    routes--
    if (nodes.size === 0) homes.delete(provider)
    return true
  }

  return {
    hear(nodeId, facts, { isNew }) {
      const state = stateOf(nodeId)
      if (!state) return
      state.facts = facts
      state.knownMs = clock.monotonicMs()
      if (isNew) state.heardMs = state.knownMs
    },
    route(provider, nodeId, isThere) {
      if (!isThere) {
        dropRoute(provider, nodeId)
        return
      }
      if (!stateOf(nodeId)) return
      const nodes = homes.get(provider) ?? new Set()
      if (nodes.has(nodeId)) return
      if (routes >= limits.clusterRoutesMax) {
        refuse()
        return
      }
      routes++
      homes.set(provider, nodes.add(nodeId))
    },
    note: (nodeId) => stateOf(nodeId) !== undefined,
    suspect(nodeId) {
      const state = states.get(nodeId)
      if (state) state.heardMs = undefined
    },
    forget(nodeId) {
      states.delete(nodeId)
      return [...homes.keys()].filter((provider) => dropRoute(provider, nodeId))
    },
    pardon() {
      for (const state of states.values()) {
        state.knownMs = clock.monotonicMs()
        if (state.heardMs !== undefined) state.heardMs = state.knownMs
      }
    },
    live: () => [...states.keys()].flatMap(find),
    homesOf: (provider) => [...(homes.get(provider) ?? [])].flatMap(find),
    gone() {
      const before = clock.monotonicMs() - limits.clusterForgetMs
      return [...states].filter(([, { knownMs }]) => knownMs < before).map(([nodeId]) => nodeId)
    },
  }
}
