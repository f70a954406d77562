/**
 * The `Strict-Transport-Security` header (RFC 6797) of a gateway, or undefined where it has none: a browser would keep every
 * other server on `localhost` from working. Without `includeSubDomains` and `preload`: what else the operator has below the
 * domain is for the operator to say.
 */
export function strictTransport(domain: string, seconds: number): string | undefined {
  if (seconds === 0 || domain === 'localhost' || domain.endsWith('.localhost')) return undefined
  return `max-age=${seconds}`
}
