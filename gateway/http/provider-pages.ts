import { Hono } from 'hono'
import type { Address } from 'viem'
import { announcePath } from '../../protocol/announcement.ts'
import { readBounded } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { NameCache } from '../names/name-cache.ts'
import type { Presence } from '../presence/presence.ts'
import type { ListedProvider } from './page.ts'

export interface ProviderPagesDeps {
  readonly names: Pick<NameCache, 'known'>
  readonly presence: Pick<Presence, 'take' | 'live' | 'isGone'>
  /** Providers with a live tunnel. */
  readonly tunnelledProviders: () => readonly Address[]
  /** Where a name is called. */
  readonly urlOf: (name: string) => string
}

/** Who is there: providers announce themselves here, and everybody may read the list. */
export function createProviderPages(deps: ProviderPagesDeps): Hono {
  const app = new Hono()
  app.get(announcePath, (c) => c.json({ providers: listProviders(deps) }))
  app.post(announcePath, async (c) => {
    const { body } = c.req.raw
    const bytes = body ? await readBounded(body, limits.announcementBytesMax) : new Uint8Array()
    if (!bytes) throw tooLarge()
    await deps.presence.take(bytes, c.req.raw.signal)
    return c.json({ silenceMsMax: limits.announcementSilenceMsMax })
  })
  return app
}

/** Those that announced themselves, those whose tunnel stands, and those that were called and never said anything. */
export function listProviders(deps: ProviderPagesDeps): ListedProvider[] {
  const { names, presence, tunnelledProviders, urlOf } = deps
  const tunnelled = new Set(tunnelledProviders())
  const live = presence.live().map(({ announcement: said, record }): ListedProvider => {
    const url = urlOf(record.name)
    return {
      name: record.name,
      address: record.address,
      url,
      isLive: true,
      isTunnelled: tunnelled.has(record.address),
      region: said.region,
      version: said.version,
      price: said.price.toString(),
      runtimes: said.runtimes,
      tier: said.tier,
      egress: said.egress,
      capacity: said.capacity,
      endpoints: [url, said.endpoint],
      saidAt: new Date(said.time).toISOString(),
    }
  })
  const listed = new Set(live.map(({ address }) => address))
  const named = new Set(live.map(({ name }) => name))
  const silent = names
    .known()
    .filter(({ name }) => !named.has(name))
    .filter(({ address }) => tunnelled.has(address) || listed.has(address) || !presence.isGone(address))
    .map(({ name, address }): ListedProvider => {
      const isTunnelled = tunnelled.has(address)
      return { name, address, url: urlOf(name), isLive: isTunnelled || listed.has(address), isTunnelled }
    })
  for (const { address } of silent) listed.add(address)
  const unnamed = [...tunnelled]
    .filter((address) => !listed.has(address))
    .map((address) => ({ name: undefined, address, url: undefined, isLive: true, isTunnelled: true }))
  return [...live, ...silent, ...unnamed]
}

const tooLarge = () =>
  new ProtocolError('body_too_large', `An announcement has at most ${limits.announcementBytesMax} bytes.`, {
    hint: 'Providers send it by themselves: see "khachapuri provider up --help".',
  })
