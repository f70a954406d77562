import type { IncomingHttpHeaders } from 'node:http'

/** The origin that a caller called, behind gateways, too: `https://alice.market.example`. Only for showing it the same way again. */
export function calledOrigin(headers: IncomingHttpHeaders): string {
  const host = headers['x-forwarded-host'] ?? headers['host'] ?? 'localhost'
  return `${headers['x-forwarded-proto'] === 'https' ? 'https' : 'http'}://${host}`
}
