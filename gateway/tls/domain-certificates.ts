import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { backoffDelayMs } from '../../protocol/base/backoff.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { toProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { createTokenBuckets } from '../limits/token-buckets.ts'
import { resolveHost } from '../names/resolve-host.ts'
import { renewalAtMs } from './acme/acme-options.ts'
import { type Certificate, parseCertificate } from './certificate.ts'
import type { PemPair } from './dev-authority.ts'
import { writeFileWhole } from './write-file-whole.ts'

export interface DomainCertificatesDeps {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
  /** Orders a certificate for this domain; the authority comes to it for its proof. */
  readonly order: (domain: string, signal: AbortSignal) => Promise<PemPair>
  /** Whether the owner of the domain has said that it stands for something here. */
  readonly isProven: (domain: string, signal: AbortSignal) => Promise<boolean>
}

export interface DomainCertificatesOptions {
  /** Where certificates and their keys are kept, a file for each domain with mode 0600. One process at a time. */
  readonly dir: string
  /** The gateway's own host, whose certificate is somebody else's affair. */
  readonly domain: string
  /** Orders of all domains together; a quarter of them for one domain with what is below it. */
  readonly ordersPerHourMax: number
}

/** Certificates for domains of others, got when somebody first asks for them. Disposal waits for no order. */
export interface DomainCertificates extends AsyncDisposable {
  /**
   * The certificate for the host that a caller shakes hands for (SNI); undefined where there is none, or none within the
   * time that a caller waits.
   */
  find(servername: string): Promise<PemPair | undefined>
  /** Whether there is one now. */
  has(host: string): boolean
}

interface Kept {
  readonly certificate: Certificate
  readonly renewAtMs: number
}

interface Failure {
  readonly failures: number
  /** Monotonic. */
  readonly untilMs: number
}

/**
 * Anybody can have a gateway asked for any host, and an authority counts orders. So one is made for a proven domain only,
 * one at a time for each, so many an hour, and after a failure not again for a while.
 */
export async function openDomainCertificates(
  deps: DomainCertificatesDeps,
  options: DomainCertificatesOptions,
): Promise<DomainCertificates> {
  const { clock, random, log } = deps
  const { dir, domain: ownDomain, ordersPerHourMax } = options
  const stored = await listStored(dir)
  const kept = createRecent<string, Kept>(limits.domainCertificatesCachedMax)
  const failed = createRecent<string, Failure>(limits.domainsCachedMax)
  const orders = new Map<string, Promise<Certificate | undefined>>()
  const reading = new Map<string, Promise<Certificate | undefined>>()
  const perHour = (requests: number) =>
    createTokenBuckets({ clock }, { requests, windowSeconds: 3_600 }, limits.domainsCachedMax)
  const ofAll = perHour(ordersPerHourMax)
  const ofFamily = perHour(Math.ceil(ordersPerHourMax / 4))
  const stop = new AbortController()

  function keep(host: string, certificate: Certificate): Certificate {
    kept.set(host, { certificate, renewAtMs: renewalAtMs(certificate, random) })
    stored.add(host)
    return certificate
  }

  async function readStored(host: string): Promise<Certificate | undefined> {
    try {
      const { cert, key } = JSON.parse(await readFile(join(dir, `${host}.json`), 'utf8')) as PemPair
      return keep(host, parseCertificate({ cert, key }, clock.nowMs()))
    } catch (error) {
      // One that has ended, or was cut short, is ordered anew.
      stored.delete(host)
      log.info('domain_certificate_dropped', { domain: host, error: toProtocolError(error).message })
      return undefined
    }
  }

  /** What is kept of a host and still holds. */
  async function look(host: string): Promise<Kept | undefined> {
    if (!kept.has(host) && stored.has(host)) await once(reading, host, () => readStored(host))
    const found = kept.get(host)
    if (!found || found.certificate.validToMs > clock.nowMs()) return found
    kept.delete(host)
    stored.delete(host)
    return undefined
  }

  function mayOrder(host: string): boolean {
    if ((failed.get(host)?.untilMs ?? 0) > clock.monotonicMs()) return false
    return orders.size < limits.domainOrdersMax && (stored.has(host) || stored.size < limits.domainsCachedMax)
  }

  async function order(host: string): Promise<Certificate | undefined> {
    try {
      const limit = !ofFamily.take(familyOf(host)).isTaken
        ? 'domain'
        : !ofAll.take('').isTaken
          ? 'all'
          : undefined
      if (limit !== undefined) {
        log.warn('domain_certificate_limited', { domain: host, limit })
        return undefined
      }
      const pair = await deps.order(host, stop.signal)
      const certificate = parseCertificate(pair, clock.nowMs())
      await writeFileWhole(join(dir, `${host}.json`), JSON.stringify(pair), { mode: 0o600 })
      failed.delete(host)
      log.info('domain_certificate_ordered', {
        domain: host,
        validTo: new Date(certificate.validToMs).toISOString(),
      })
      return keep(host, certificate)
    } catch (error) {
      if (stop.signal.aborted) return undefined
      noteFailure(host, error)
      return undefined
    }
  }

  /** Looked up before it takes one of the places for orders: strangers choose what is looked up. */
  async function obtain(host: string): Promise<Certificate | undefined> {
    if (!orders.has(host)) {
      const isProven = mayOrder(host) && (await deps.isProven(host, stop.signal).catch(() => false))
      if (!isProven || stop.signal.aborted) return undefined
    }
    return orders.has(host) || mayOrder(host) ? once(orders, host, () => order(host)) : undefined
  }

  function noteFailure(host: string, error: unknown): void {
    const failures = (failed.get(host)?.failures ?? 0) + 1
    const delayMs = backoffDelayMs(failures - 1, {
      delayMsMin: limits.domainOrderRetryDelayMsMin,
      delayMsMax: limits.domainOrderRetryDelayMsMax,
      random,
    })
    failed.set(host, { failures, untilMs: clock.monotonicMs() + delayMs })
    const { message, hint } = toProtocolError(error)
    log.warn('domain_certificate_failed', { domain: host, error: message, hint, failures })
  }

  return {
    has: (host) => stored.has(host),
    async find(servername) {
      const meaning = resolveHost(servername, ownDomain)
      if (meaning.kind !== 'foreign' || meaning.host.length > hostCharsMax) return undefined
      const { host } = meaning
      const found = await look(host)
      const isDue = found !== undefined && clock.nowMs() >= found.renewAtMs
      if (found && !isDue) return found.certificate
      const ordered = obtain(host)
      if (found) return found.certificate
      // The order goes on, and whoever comes later has its certificate.
      const patience = AbortSignal.any([stop.signal, AbortSignal.timeout(limits.domainOrderPatienceMs)])
      return raceSignal(ordered, patience).catch(() => undefined)
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('The gateway has closed.'))
      await Promise.allSettled(orders.values())
    },
  }
}

/** One run for each key at a time, whose end all wait for. */
function once<T>(running: Map<string, Promise<T>>, key: string, run: () => Promise<T>): Promise<T> {
  const current = running.get(key)
  if (current) return current
  const next = run().finally(() => running.delete(key))
  running.set(key, next)
  return next
}

/** So that it is the name of a file. */
const hostCharsMax = 240

/** Whoever has a domain has all below it: its last two labels, which for `co.uk` and its kind are those of many. */
const familyOf = (host: string): string => host.split('.').slice(-2).join('.')

async function listStored(dir: string): Promise<Set<string>> {
  const names = await readdir(dir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  return new Set(names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length)))
}
