import { isAddressEqual } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { repeat } from '../../protocol/base/repeat.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Upstream } from '../../protocol/http/upstream.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderName } from '../../protocol/name.ts'
import { type ProviderInfo, providerInfoSchema } from '../../protocol/provider.ts'
import type { ProviderRoutes } from '../proxy/provider-routes.ts'
import type { HealthBook } from './health-book.ts'
import { noteAnswer, noteFailure } from './provider-health.ts'

export interface WatchDeps {
  readonly clock: Clock
  readonly log: Log
  readonly random: () => number
  readonly routes: Pick<ProviderRoutes, 'routeTo'>
  readonly health: HealthBook
}

/** Asks providers how they are, as long as somebody wants to know. */
export interface ProviderWatch extends AsyncDisposable {
  /** These could have had a call just now. */
  want(providers: readonly ProviderName[]): void
}

/**
 * Every few seconds `GET /_/info` of each provider that could have had a call lately: it shows that the provider answers,
 * and its price. So one that was broken is back without a caller's request to try it with.
 */
export function watchProviders(deps: WatchDeps): ProviderWatch {
  const { clock, health, log, random } = deps
  const wanted = createRecent<string, { readonly provider: ProviderName; readonly atMs: number }>(
    limits.routeProbesMax,
  )

  async function probe(provider: ProviderName, signal: AbortSignal): Promise<void> {
    const startedMs = clock.monotonicMs()
    try {
      const info = await askInfo(deps.routes, provider, signal)
      const nowMs = clock.monotonicMs()
      health.change(provider.address, (known) => ({
        // Asking is quicker than calling, so calls alone tell how quick calls are.
        ...noteAnswer(known, { latencyMs: known.latencyMs ?? nowMs - startedMs, nowMs }),
        priceUsdc: info.price,
      }))
    } catch (error) {
      signal.throwIfAborted()
      log.debug('provider_probe_failed', { provider: provider.name, error: String(error) })
      const nowMs = clock.monotonicMs()
      health.change(provider.address, (known) => noteFailure(known, { nowMs, random }))
    }
  }

  async function probeAll(signal: AbortSignal): Promise<void> {
    const sinceMs = clock.monotonicMs() - limits.routeProbeWantedMs
    const queue: ProviderName[] = []
    for (const { provider, atMs } of [...wanted.values()]) {
      if (atMs < sinceMs) wanted.delete(provider.address)
      else queue.push(provider)
    }
    const lane = async () => {
      for (let next = queue.pop(); next; next = queue.pop()) await probe(next, signal)
    }
    await Promise.all(Array.from({ length: limits.routeProbesAtOnceMax }, lane))
  }

  const loop = repeat(
    { clock, onError: (error) => log.warn('providers_watch_failed', { error: String(error) }) },
    limits.routeProbeIntervalMs,
    probeAll,
  )
  return {
    want(providers) {
      const atMs = clock.monotonicMs()
      for (const provider of providers) wanted.set(provider.address, { provider, atMs })
    },
    [Symbol.asyncDispose]: () => loop[Symbol.asyncDispose](),
  }
}

/** @throws what the way to the provider failed with; `provider_answer_invalid` for another provider's answer, or none */
async function askInfo(
  routes: Pick<ProviderRoutes, 'routeTo'>,
  provider: ProviderName,
  signal: AbortSignal,
): Promise<ProviderInfo> {
  const { upstream, host } = routes.routeTo(provider)
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.routeProbeTimeoutMs)])
  const { status, body } = await fetchWhole(upstream, host ?? provider.name, deadline)
  const parsed = providerInfoSchema.safeParse(status === 200 ? parseJson(body) : undefined)
  if (parsed.success && isAddressEqual(parsed.data.address, provider.address)) return parsed.data
  throw new ProtocolError('provider_answer_invalid', 'The provider does not say who it is.', {
    hint: 'Its owner has to look whether it runs.',
  })
}

function fetchWhole(
  upstream: Upstream,
  host: string,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: Buffer }> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let status = 0
    let bytes = 0
    const exchange = upstream.send(
      { method: 'GET', target: '/_/info', rawHeaders: ['host', host, 'accept', 'application/json'] },
      {
        onHead: (code) => {
          status = code
        },
        onData(chunk) {
          chunks.push(chunk)
          bytes += chunk.length
          if (bytes > limits.problemBytesMax * 4) giveUp()
        },
        onEnd: () => settle(() => resolve({ status, body: Buffer.concat(chunks) })),
        onError: (error) => settle(() => reject(error)),
      },
    )
    const giveUp = () => {
      exchange.abort()
      settle(() => reject(signal.aborted ? signal.reason : new Error('The answer is too long.')))
    }
    const settle = (act: () => void) => {
      signal.removeEventListener('abort', giveUp)
      act()
    }
    signal.addEventListener('abort', giveUp, { once: true })
    if (signal.aborted) giveUp()
  })
}
