import { z } from 'zod'
import type { Log } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { type DenySettings, denySchema } from '../limits/deny-list.ts'
import { type SharedQuotas, type Spend, spendsSchema } from '../limits/spend-book.ts'
import type { ClusterStore } from './nats-store.ts'
import { parseWord } from './parse-word.ts'

/** What gateways of a cluster tell each other beside who is there and who has whose tunnels. */
export interface ClusterWords {
  /** What this gateway denies. */
  readonly deny: DenySettings
  /** Hears what the others deny, whenever that changes. */
  readonly onDeny: (others: readonly DenySettings[]) => void
  /** Hears what a provider has said to another gateway. */
  readonly onAnnounced: (text: string) => void
  /** What all count together. */
  readonly quotas: SharedQuotas
}

/** Says the words of one gateway to the others, and takes in theirs. */
export interface SharedWords {
  /** Takes in what stands at `kind.other` now. */
  hear(kind: string, other: string, value: string | undefined, facts: { readonly isNew: boolean }): void
  /** Takes in what stands under this gateway's own name: what it did not say there, it says again. */
  hearOwn(kind: string, value: string): void
  /** Another gateway is there no more; what it denied was its own. */
  forget(other: string): void
  /** What was said may be lost: it is said again. */
  sayAgain(): void
  setDeny(deny: DenySettings): void
  /** Says what is denied here, where the others do not know it yet. */
  tellDeny(): Promise<void>
  /** Says what was let through since the last time. */
  tellSpent(): Promise<void>
  takeBack(): Promise<void>
}

/** Keys under which one gateway says something; where it is there no more, the others take them away. */
export const wordKinds: readonly string[] = ['deny', 'spent']
export const isWordKind = (kind: string): boolean => wordKinds.includes(kind)

export function createSharedWords(
  { log, store, nodeId }: { readonly log: Log; readonly store: ClusterStore; readonly nodeId: string },
  { deny: firstDeny, onDeny, onAnnounced, quotas }: ClusterWords,
): SharedWords {
  let deny = JSON.stringify(firstDeny)
  let toldDeny: string | undefined
  const othersDeny = new Map<string, DenySettings>()
  const heardSpent = new Map<string, number>()
  let reports = 0
  let report: SpentReport | undefined

  function hearDeny(other: string, value: string | undefined): void {
    const said = value === undefined ? undefined : parseWord(denySchema, value)
    if (value === undefined) {
      if (!othersDeny.delete(other)) return
    } else if (said) {
      othersDeny.set(other, said)
      // Whoever finds something denied here that it does not deny itself looks for who does.
      const { cids, providers, clients } = said
      log.info('cluster_deny_heard', {
        nodeId: other,
        ...{ cids: cids.length, providers: providers.length, clients: clients.length },
      })
    } else {
      // What it said before holds on: what somebody denies must not be let through for a word that nobody understands.
      log.warn('cluster_deny_unread', { nodeId: other, hint: 'Run the same version at all gateways.' })
      return
    }
    onDeny([...othersDeny.values()])
  }

  function hearSpent(other: string, value: string): void {
    const said = parseWord(spentSchema, value, limits.clusterSpendBytesMax)
    // One whose answer was lost is told again.
    if (!said || said.number <= (heardSpent.get(other) ?? 0)) return
    heardSpent.set(other, said.number)
    quotas.charge(said.spends)
  }

  return {
    hear(kind, other, value, { isNew }) {
      if (kind === 'deny') hearDeny(other, value)
      // What was kept from before says nothing: whoever is there says so again within seconds.
      else if (!isNew || value === undefined) return
      else if (kind === 'spent') hearSpent(other, value)
      else if (kind === 'alive' && value.length <= limits.announcementBytesMax) onAnnounced(value)
    },
    hearOwn(kind, value) {
      if (kind === 'deny' && value !== deny) toldDeny = undefined
    },
    forget(other) {
      heardSpent.delete(other)
      hearDeny(other, undefined)
    },
    sayAgain() {
      toldDeny = undefined
    },
    setDeny(next) {
      deny = JSON.stringify(next)
    },
    async tellDeny() {
      if (toldDeny === deny) return
      const telling = deny
      const bytes = Buffer.byteLength(telling)
      if (bytes <= store.valueBytesMax) await store.put(`deny.${nodeId}`, telling)
      else
        log.error('cluster_deny_untold', {
          bytes,
          hint: `The others go by what it was before. Shorten the lists, or raise max_payload of NATS above ${bytes}.`,
        })
      toldDeny = telling
    },
    async tellSpent() {
      // What nobody hears of soon is not told later: by then its tokens have come back.
      if (!store.isConnected()) {
        while (quotas.takeSpent().length > 0) report = undefined
        report = undefined
        return
      }
      if (!report) {
        const spends = quotas.takeSpent()
        if (spends.length === 0) return
        report = { number: ++reports, spends }
      }
      await store.put(`spent.${nodeId}`, JSON.stringify(report))
      report = undefined
    },
    async takeBack() {
      for (const kind of wordKinds) await store.delete(`${kind}.${nodeId}`)
    },
  }
}

/** What a gateway let through since its last word. */
interface SpentReport {
  /** From 1 on. */
  readonly number: number
  readonly spends: readonly Spend[]
}

const spentSchema: z.ZodType<SpentReport> = z.object({ number: z.int().min(1), spends: spendsSchema })
