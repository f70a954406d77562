import type { DenySettings } from '../limits/deny-list.ts'

/** What one gateway denies, all of its cluster deny. */
export function mergeDeny(own: DenySettings, others: readonly DenySettings[]): DenySettings {
  const all = [own, ...others]
  const union = (pick: (deny: DenySettings) => readonly string[]) => [...new Set(all.flatMap(pick))]
  return {
    cids: union(({ cids }) => cids),
    providers: union(({ providers }) => providers),
    clients: union(({ clients }) => clients),
  }
}
