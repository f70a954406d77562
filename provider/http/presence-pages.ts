import { Hono } from 'hono'
import type { Clock } from '../../protocol/base/clock.ts'
import { didPath } from '../../protocol/did-document.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { pingNoncePattern, pingPath, signPing } from '../../protocol/ping.ts'
import type { PresenceVoice } from '../../protocol/presence-key.ts'
import type { DidPage } from '../did-page.ts'

export interface PresencePagesDeps {
  readonly clock: Clock
  readonly voice: PresenceVoice
  readonly did: DidPage
  readonly version: string
}

/** Who the provider is and that it is alive, signed. */
export function createPresencePages({ clock, voice, did, version }: PresencePagesDeps): Hono {
  const app = new Hono()
  app.get(pingPath, async (c) => {
    const nonce = c.req.query('nonce') ?? null
    if (nonce !== null && !pingNoncePattern.test(nonce)) {
      throw new ProtocolError('bad_request', 'The nonce is not one.', {
        hint: 'Send 1 to 64 letters, digits, hyphens and underscores, or none.',
      })
    }
    c.header('cache-control', 'no-store')
    return c.json(await signPing(voice, { nowMs: clock.nowMs(), version, nonce }))
  })
  app.get(didPath, async (c) => {
    const host = c.req.header('x-forwarded-host') ?? c.req.header('host') ?? ''
    c.header('cache-control', 'no-cache')
    c.header('access-control-allow-origin', '*')
    return c.json(await did.read(host))
  })
  return app
}
