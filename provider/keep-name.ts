import type { PublicClient } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { repeat } from '../protocol/base/repeat.ts'
import type { TransactionSender } from '../protocol/chain/transaction-sender.ts'
import { isProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { registrationSeconds } from './register-name.ts'
import { findRenewal, type NamePlace } from './register-provider.ts'

export interface KeepNameDeps {
  readonly client: PublicClient
  readonly sender: TransactionSender
  readonly clock: Clock
  readonly log: Log
}

export interface KeepNameOptions extends NamePlace {
  readonly intervalMs?: number
}

/**
 * Renews a name in good time for as long as its provider runs, which may be longer than the name was registered for. A
 * renewal that fails is told as an error (`name_not_renewed`) and tried again at the next look: there are four weeks for it.
 */
export function keepName(
  { client, sender, clock, log }: KeepNameDeps,
  { intervalMs = limits.nameLookIntervalMs, ...place }: KeepNameOptions,
): AsyncDisposable {
  const { name } = place
  /** As far as it is known; a look that fails before is an alarm in any case. */
  let dueAtSeconds = 0

  async function look(signal: AbortSignal): Promise<void> {
    const renewal = await findRenewal(client, place, signal)
    dueAtSeconds = renewal.dueAtSeconds
    if (!renewal.call) return
    await sender.run(renewal.call, signal)
    dueAtSeconds += registrationSeconds
    log.info('name_renewed', { name })
  }

  function tell(error: unknown): void {
    const facts = { name, error: isProtocolError(error) ? error.code : String(error) }
    if (clock.nowMs() >= dueAtSeconds * 1000) log.error('name_not_renewed', facts)
    else log.warn('name_not_looked_at', facts)
  }

  return repeat({ clock, onError: tell }, intervalMs, look)
}
