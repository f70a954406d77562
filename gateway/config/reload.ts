import { isDeepStrictEqual } from 'node:util'
import type { Log } from '../../protocol/base/log.ts'
import { toProtocolError } from '../../protocol/errors.ts'
import type { FrontRules } from '../limits/front-rules.ts'
import { type GatewaySettings, settingLeaves } from './settings.ts'
import { getAt } from './settings-layer.ts'

/** What of a gateway's settings may change while it runs; the rest waits for its next start. */
const reloadable: ReadonlySet<string> = new Set([
  'trustedProxies',
  'limits',
  'deny',
  'abuse',
] satisfies (keyof FrontRules)[])

const isReloadable = (name: string) => reloadable.has(name.split('.')[0] ?? '')

function changedSettings(before: GatewaySettings, after: GatewaySettings): string[] {
  return settingLeaves
    .filter(({ path }) => !isDeepStrictEqual(getAt(before, path), getAt(after, path)))
    .map(({ path }) => path.join('.'))
}

export interface ReloadDeps {
  readonly log: Log
  /** Reads all settings anew. */
  readonly read: () => Promise<GatewaySettings>
  readonly apply: (rules: FrontRules) => void
  /** What the gateway started with. */
  readonly first: GatewaySettings
}

/**
 * Reads settings again and applies what can be applied, all of it or nothing; what is wrong is said in the log, and what
 * held before goes on.
 *
 * @returns what does that; it never throws, and what overlaps happens one after the other.
 */
export function createReload({ log, read, apply, first }: ReloadDeps): () => Promise<void> {
  let rules: GatewaySettings = first
  let last = Promise.resolve()

  async function reload(): Promise<void> {
    try {
      const next = await read()
      const changed = changedSettings(rules, next).filter(isReloadable)
      const waiting = changedSettings(first, next).filter((name) => !isReloadable(name))
      apply(next)
      rules = next
      log[waiting.length > 0 ? 'warn' : 'info']('config_reloaded', { changed, waitingForRestart: waiting })
    } catch (error) {
      const { code, message, hint } = toProtocolError(error)
      log.error('config_reload_failed', {
        code,
        error: message,
        hint,
        ...(code === 'internal' && { cause: String(error) }),
      })
    }
  }
  return () => {
    last = last.then(reload)
    return last
  }
}
