import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { backoffDelayMs } from '../../../protocol/base/backoff.ts'
import type { Clock } from '../../../protocol/base/clock.ts'
import type { Log } from '../../../protocol/base/log.ts'
import { isProtocolError, toProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import { type Certificate, parseCertificate } from '../certificate.ts'
import type { CertificateSource } from '../certificate-source.ts'
import type { PemPair } from '../dev-authority.ts'
import { writeFileWhole } from '../write-file-whole.ts'
import { type AcmeOptions, certificateHosts, renewalAtMs } from './acme-options.ts'
import { orderCertificate } from './order-certificate.ts'

export interface AcmeSourceDeps {
  readonly clock: Clock
  readonly random: () => number
  readonly log: Log
  /** What the authority is to find at `/.well-known/acme-challenge/<token>`; whoever serves port 80 reads it. */
  readonly proofs: Map<string, string>
}

/**
 * Certificates from an ACME authority: the one that was kept, else a new one, renewed long before its end. Where the
 * authority gives none, it is asked again and again with growing pauses, and the present one stays.
 *
 * @param dir - For the account's key and the certificate, all with mode 0600. One gateway process at a time.
 * @throws ProtocolError `config_invalid` for a hook that cannot be run, where there is no certificate yet
 */
export async function openAcmeSource(
  deps: AcmeSourceDeps,
  options: AcmeOptions & { readonly dir: string },
  signal: AbortSignal,
): Promise<CertificateSource> {
  const { clock, random, log, proofs } = deps
  const { dir } = options
  const paths = { certFile: join(dir, 'cert.pem'), keyFile: join(dir, 'key.pem') }
  let tellChange: (certificate: Certificate) => void = () => undefined

  const order = async (until: AbortSignal): Promise<Certificate> => {
    const pair = await orderCertificate({ proofs, dir }, options, until)
    const certificate = parseCertificate(pair, clock.nowMs())
    await writeFileWhole(paths.keyFile, pair.key, { mode: 0o600 })
    await writeFileWhole(paths.certFile, pair.cert, { mode: 0o600 })
    const { names, validToMs } = certificate
    log.info('certificate_ordered', { names, validTo: new Date(validToMs).toISOString() })
    return certificate
  }

  /** @param isFinal - Says which failures are not worth another try. */
  const orderUntilGiven = async (
    until: AbortSignal,
    isFinal: (error: unknown) => boolean,
  ): Promise<Certificate> => {
    for (let failures = 0; ; failures++) {
      try {
        return await order(until)
      } catch (error) {
        until.throwIfAborted()
        if (isFinal(error)) throw error
        const delayMs = backoffDelayMs(failures, {
          delayMsMin: limits.acmeRetryDelayMsMin,
          delayMsMax: limits.acmeRetryDelayMsMax,
          random,
        })
        const { message, hint } = toProtocolError(error)
        log.error('certificate_order_failed', {
          error: message,
          hint,
          failures,
          retryInMs: Math.round(delayMs),
        })
        await clock.sleep(delayMs, until)
      }
    }
  }

  const kept = await readKept(paths, clock.nowMs())
  const isWide = kept && certificateHosts(options).every((host) => kept.names.includes(host))
  const isMisconfigured = (error: unknown) => isProtocolError(error) && error.code === 'config_invalid'
  let certificate = isWide ? kept : await orderUntilGiven(signal, isMisconfigured)

  const stop = new AbortController()
  const renewing = (async () => {
    while (!stop.signal.aborted) {
      const dueMs = renewalAtMs(certificate, random)
      // Timers do not reach further than 24 days.
      while (clock.nowMs() < dueMs) {
        await clock.sleep(Math.min(dueMs - clock.nowMs(), limits.acmeLookIntervalMs), stop.signal)
      }
      certificate = await orderUntilGiven(stop.signal, () => false)
      tellChange(certificate)
    }
  })().catch((error) => {
    if (!stop.signal.aborted) log.error('certificate_renewal_ended', { error: String(error) })
  })

  return {
    get certificate() {
      return certificate
    },
    // It renews by itself.
    reload: async () => undefined,
    onChange(listener) {
      tellChange = listener
    },
    async [Symbol.asyncDispose]() {
      stop.abort(new Error('The gateway has closed.'))
      await renewing
    },
  }
}

/** The certificate of before, or undefined where there is none, or none that still holds. */
async function readKept(
  { certFile, keyFile }: { readonly certFile: string; readonly keyFile: string },
  nowMs: number,
): Promise<Certificate | undefined> {
  let pair: PemPair
  try {
    pair = { cert: await readFile(certFile, 'utf8'), key: await readFile(keyFile, 'utf8') }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  try {
    return parseCertificate(pair, nowMs)
  } catch (error) {
    if (isProtocolError(error)) return undefined
    throw error
  }
}
