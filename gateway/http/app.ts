import { Hono } from 'hono'
import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import type { GatewayInfo } from '../../protocol/gateway.ts'
import { problemResponse } from '../../protocol/http/problem-response.ts'
import type { CallBook } from '../dashboard/call-book.ts'
import { createDashboardRoutes } from '../dashboard/dashboard-routes.ts'
import { createDashboardView } from '../dashboard/dashboard-view.ts'
import type { AbuseSettings } from '../limits/front-rules.ts'
import type { DomainCache } from '../names/domain-cache.ts'
import type { NameCache } from '../names/name-cache.ts'
import type { Presence } from '../presence/presence.ts'
import type { RouteFacts } from '../routing/router.ts'
import type { SwarmRecords } from '../swarm/swarm-records.ts'
import { createAbusePages } from './abuse-pages.ts'
import { createDomainPages } from './domain-pages.ts'
import { createNamePages } from './name-pages.ts'
import { formatPage } from './page.ts'
import { createProviderPages, listProviders } from './provider-pages.ts'
import { createSwarmPages } from './swarm-pages.ts'

export interface AppDeps {
  readonly clock: Clock
  readonly log: Log
  readonly info: GatewayInfo
  readonly names: Pick<NameCache, 'resolve' | 'known'>
  /** Who is there. */
  readonly presence: Pick<Presence, 'take' | 'live' | 'isGone'>
  /** Calls that were counted, swarms that were run, and what is known of a provider's service. */
  readonly calls: Pick<CallBook, 'of'>
  readonly swarms: Pick<SwarmRecords, 'get'>
  readonly factsOf: (provider: Address) => RouteFacts
  /** URLs of the tunnels of other gateways with the same names. */
  readonly otherGateways: () => readonly string[]
  /** Absent where the gateway answers for no domain but its own. */
  readonly domains?: Pick<DomainCache, 'refresh'> | undefined
  /** Providers with a live tunnel. */
  readonly tunnelledProviders: () => readonly Address[]
  /** False once the gateway is closing. */
  readonly isReady: () => boolean
  /** Whom strangers write to, as the settings say now. */
  readonly abuse: () => AbuseSettings
  /** Routes that a keeper answers. */
  readonly keeper?: Hono | undefined
  /** `Strict-Transport-Security`, where the gateway ends TLS itself. */
  readonly hsts?: string | undefined
}

/** The gateway's own pages and API, on its own host. Calls to providers never come here. */
export function createApp(deps: AppDeps): Hono {
  const { info, log, hsts, names } = deps
  const app = new Hono()
  const providerPages = { ...deps, urlOf: (name: string) => exampleUrl(info, name) }
  if (hsts !== undefined) {
    app.use(async (c, next) => {
      await next()
      c.header('strict-transport-security', hsts)
    })
  }

  app.get('/', (c) => {
    const providers = listProviders(providerPages)
    const wantsPage = c.req.header('accept')?.includes('text/html') ?? false
    if (!wantsPage) return c.json({ ...info, providers })
    return c.html(formatPage(info, providers), 200, {
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
    })
  })
  app.get('/healthz', (c) => c.text('ok\n'))
  app.get('/readyz', (c) => (deps.isReady() ? c.text('ready\n') : c.text('closing\n', 503)))
  app.get('/_/info', (c) => c.json(info))
  app.get('/_/gateways', (c) => c.json({ gateways: [info.tunnel, ...deps.otherGateways()] }))
  app.get('/_/tunnel', () => {
    throw new ProtocolError('bad_request', 'This is where tunnels connect, by WebSocket.', {
      hint: 'Use khachapuri provider up --tunnel.',
    })
  })
  app.route('/', createProviderPages(providerPages))
  app.route('/', createNamePages(providerPages))
  if (deps.domains) app.route('/', createDomainPages({ domains: deps.domains }))
  app.route('/', createAbusePages(deps))
  app.route('/', createSwarmPages({ ...deps, urlOf: providerPages.urlOf }))
  const view = createDashboardView({
    ...deps,
    ...{ known: names.known, urlOf: providerPages.urlOf },
    listed: () => listProviders(providerPages),
  })
  app.route('/', createDashboardRoutes({ view, anyUrl: exampleUrl(info, 'any') }))
  if (deps.keeper) app.route('/', deps.keeper)

  app.notFound((c) =>
    problemResponse(
      new ProtocolError('not_found', `The gateway has nothing at ${c.req.path.slice(0, 200)}.`, {
        hint: `Programs are called at ${exampleUrl(info, '<provider>')}<cid>.`,
      }),
    ),
  )
  app.onError((error, c) => {
    if (!isProtocolError(error)) {
      log.error('request_failed', { path: c.req.path, error: String(error.stack ?? error) })
    }
    return problemResponse(error)
  })
  return app
}

/** Where a name is called. */
export function exampleUrl({ keeper, domain }: Pick<GatewayInfo, 'keeper' | 'domain'>, name: string): string {
  return `${keeper.startsWith('https:') ? 'https' : 'http'}://${name}.${domain}/`
}
