import { join } from 'node:path'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { isBalancerOf } from '../limits/client-network.ts'
import type { GatewayAcmeOptions } from './acme/acme-options.ts'
import { type CertificateFiles, openCertificateFiles } from './certificate-files.ts'
import type { CertificateSource } from './certificate-source.ts'
import {
  type DomainCertificates,
  type DomainCertificatesDeps,
  openDomainCertificates,
} from './domain-certificates.ts'
import { type GatewayTls, openTls } from './open-tls.ts'
import { openPlainListener, type PlainTarget } from './plain-listener.ts'

export interface GatewayTlsDeps {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
  readonly log: Log
}

export interface GatewayTlsOptions {
  /** Files that somebody else keeps, or an authority that gives certificates. */
  readonly from: CertificateFiles | GatewayAcmeOptions
  /** Address to listen on. */
  readonly host: string
  /** Where the listener without TLS is that leads to the one with it; undefined for none, 0 for a free one. */
  readonly httpPort: number | undefined
  /** Lets several processes share that port. */
  readonly isShared: boolean
  /** See `GatewayOptions`. */
  readonly balancers?: readonly string[]
  /** For certificates and ticket keys. */
  readonly dir: string
  /** The gateway's host, without a port. */
  readonly domain: string
  /** Whether the owner of a domain has said that it stands for something here: it may have a certificate then. */
  readonly isProven?: DomainCertificatesDeps['isProven']
}

/** What a gateway shows over TLS, and the port where there is none, which leads to it. */
export interface OpenGatewayTls extends GatewayTls {
  readonly httpPort: number | undefined
  /** Certificates for domains of others; undefined where nobody can give any. */
  readonly domains: DomainCertificates | undefined
  /** Where the listener without TLS leads from now on; it answers that there is nothing yet before. */
  leadTo(target: PlainTarget): void
}

/**
 * Opens the listener without TLS first: an authority that gives certificates may come there for its proof.
 *
 * @throws ProtocolError `port_taken`, `config_invalid`
 */
export async function openGatewayTls(
  deps: GatewayTlsDeps,
  options: GatewayTlsOptions,
  signal: AbortSignal,
): Promise<OpenGatewayTls> {
  await using opening = new AsyncDisposableStack()
  const { host, httpPort, isShared, dir, domain } = options
  const proofs = new Map<string, string>()
  let target: PlainTarget | undefined
  let domains: DomainCertificates | undefined
  const plain =
    httpPort === undefined
      ? undefined
      : opening.use(
          await openPlainListener({
            ...{ host, port: httpPort, isShared },
            isBalancer: isBalancerOf(options.balancers),
            target: () => target,
            challenge: (token) => proofs.get(token),
            hasCertificate: (foreign) => domains?.has(foreign) ?? false,
          }),
        )
  const source = await openSource({ ...deps, proofs }, options, signal)
  const tls = opening.use(await openTls({ ...deps, source }, { dir, domain }))
  if (plain) domains = await openDomains({ ...deps, proofs }, options)
  if (domains) opening.use(domains)
  const parts = opening.move()
  return {
    get identity() {
      return tls.identity
    },
    reload: tls.reload,
    onChange: tls.onChange,
    httpPort: plain?.port,
    domains,
    leadTo(next) {
      target = next
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Whoever points a domain here has the authority come to the port without TLS: DNS of others is out of reach. */
async function openDomains(
  deps: GatewayTlsDeps & { readonly proofs: Map<string, string> },
  { from, dir, domain, isProven }: GatewayTlsOptions,
): Promise<DomainCertificates | undefined> {
  if ('certFile' in from || from.domainsPerHour === 0 || !isProven) return undefined
  const { directoryUrl, email } = from
  const { orderCertificate } = await import('./acme/order-certificate.ts')
  return openDomainCertificates(
    {
      ...deps,
      isProven,
      order: (host, signal) =>
        orderCertificate(
          { proofs: deps.proofs, dir: join(dir, 'acme') },
          { directoryUrl, ...(email !== undefined && { email }), domain: host, providers: [] },
          signal,
        ),
    },
    { dir: join(dir, 'domains'), domain, ordersPerHourMax: from.domainsPerHour },
  )
}

async function openSource(
  deps: GatewayTlsDeps & { readonly proofs: Map<string, string> },
  { from, dir }: GatewayTlsOptions,
  signal: AbortSignal,
): Promise<CertificateSource> {
  if ('certFile' in from) return openCertificateFiles(deps, from)
  // Nobody else waits for it to load.
  const { openAcmeSource } = await import('./acme/acme-source.ts')
  return openAcmeSource(deps, { ...from, dir: join(dir, 'acme') }, signal)
}
