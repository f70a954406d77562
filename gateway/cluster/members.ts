import type { Address } from 'viem'
import { z } from 'zod'
import type { Clock } from '../../protocol/base/clock.ts'
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
  /** Undefined for one of which there are only routes: it died before it was heard of here. */
  facts: MemberFacts | undefined
  /** Monotonic; undefined before the first sign of life that is news. */
  heardMs: number | undefined
  knownMs: number
}

export function createMembers({ clock }: { readonly clock: Clock }): Members {
  const states = new Map<string, State>()
  const homes = new Map<Address, Set<string>>()

  const isLive = ({ heardMs }: State): boolean =>
    heardMs !== undefined && clock.monotonicMs() - heardMs < limits.clusterSilenceMsMax
  const find = (nodeId: string): Member[] => {
    const state = states.get(nodeId)
    return state?.facts && isLive(state) ? [{ nodeId, ...state.facts }] : []
  }

  return {
    hear(nodeId, facts, { isNew }) {
      const nowMs = clock.monotonicMs()
      const state = states.get(nodeId)
      if (state) {
        state.facts = facts
        state.knownMs = nowMs
        if (isNew) state.heardMs = nowMs
      } else states.set(nodeId, { facts, heardMs: isNew ? nowMs : undefined, knownMs: nowMs })
    },
    route(provider, nodeId, isThere) {
      const nodes = homes.get(provider) ?? new Set()
      if (isThere) {
        nodes.add(nodeId)
        if (!states.has(nodeId))
          states.set(nodeId, { facts: undefined, heardMs: undefined, knownMs: clock.monotonicMs() })
      } else nodes.delete(nodeId)
      if (nodes.size === 0) homes.delete(provider)
      else homes.set(provider, nodes)
    },
    suspect(nodeId) {
      const state = states.get(nodeId)
      if (state) state.heardMs = undefined
    },
    forget(nodeId) {
      states.delete(nodeId)
      const routes: Address[] = []
      for (const [provider, nodes] of homes) {
        if (nodes.delete(nodeId)) routes.push(provider)
        if (nodes.size === 0) homes.delete(provider)
      }
      return routes
    },
    pardon() {
      for (const state of states.values()) {
        if (state.heardMs !== undefined) state.heardMs = clock.monotonicMs()
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
