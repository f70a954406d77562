/** How a gateway gets its certificates by itself (RFC 8555). */
export interface AcmeOptions {
  /** Of the certificate authority. Whoever turns ACME on agrees to its terms. */
  readonly directoryUrl: string
  /** Where the authority writes to before a certificate ends. */
  readonly email?: string
  /**
   * A command and its arguments that puts DNS records; without it the authority comes by HTTP, to port 80 of each host, and
   * there is no wildcard.
   */
  readonly hook?: readonly string[]
  /** The gateway's host, without a port. */
  readonly domain: string
  /** Providers that stand in the certificate by their names. */
  readonly providers: readonly string[]
}

/** The same for a gateway that may have certificates for domains of others, too. */
export interface GatewayAcmeOptions extends AcmeOptions {
  /** Orders for those within an hour; 0 for none at all. */
  readonly domainsPerHour: number
}

/** The hosts of the certificate: with a wildcard where DNS can prove it, else one by one. */
export function certificateHosts({ hook, domain, providers }: AcmeOptions): string[] {
  if (hook) return [domain, `*.${domain}`, ...providers.map((name) => `*.${name}.${domain}`)]
  return [domain, ...providers.map((name) => `${name}.${domain}`)]
}

/**
 * When a certificate is to be renewed: after two thirds of its life, and up to a thirtieth later, so that gateways that were
 * set up together do not come together.
 *
 * @param random - Uniform in [0, 1).
 * @returns wall time
 */
export function renewalAtMs(
  { validFromMs, validToMs }: { readonly validFromMs: number; readonly validToMs: number },
  random: () => number,
): number {
  const lifeMs = validToMs - validFromMs
  return Math.floor(validFromMs + (lifeMs * 2) / 3 + (random() * lifeMs) / 30)
}
