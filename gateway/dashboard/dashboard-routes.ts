import { Hono } from 'hono'
import { dashboardScript, dashboardStyle } from './dashboard-files.ts'
import { formatDashboard } from './dashboard-page.ts'
import type { DashboardView } from './dashboard-view.ts'

export interface DashboardRoutesDeps {
  readonly view: () => DashboardView
  /** Where deployments are called at any provider: ends in a slash. */
  readonly anyUrl: string
}

/** `/_/dashboard`: a page for people, JSON for all others. */
export function createDashboardRoutes({ view, anyUrl }: DashboardRoutesDeps): Hono {
  const contentPolicy = [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    // The swarm's form calls deployments, on a host of their own.
    `connect-src 'self' ${new URL(anyUrl).origin}`,
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  const app = new Hono()
  app.get('/_/dashboard', (c) => {
    c.header('cache-control', 'no-store')
    c.header('vary', 'accept')
    c.header('x-content-type-options', 'nosniff')
    if (!(c.req.header('accept')?.includes('text/html') ?? false)) return c.json(view())
    c.header('content-security-policy', contentPolicy)
    c.header('referrer-policy', 'no-referrer')
    return c.html(formatDashboard(view(), anyUrl))
  })
  for (const [path, type, text] of [
    ['script.js', 'text/javascript; charset=utf-8', dashboardScript],
    ['style.css', 'text/css; charset=utf-8', dashboardStyle],
  ] as const) {
    app.get(`/_/dashboard/${path}`, (c) =>
      c.body(text, 200, {
        'content-type': type,
        'cache-control': 'no-cache',
        'x-content-type-options': 'nosniff',
      }),
    )
  }
  return app
}
