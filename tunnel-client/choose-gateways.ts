import { isIP } from 'node:net'
import { mayDial } from '../protocol/http/address-rules.ts'
import { limits } from '../protocol/limits.ts'
import { isLoopbackHost } from './find-proxy.ts'

/**
 * Which gateways a tunnel dials, of those that one of them lists: the list is a stranger's word. The first stays in any case;
 * no other is dialled with less protection than it, on this machine unless it is there itself, or where nothing of ours is.
 *
 * @param first - Whom the user chose.
 */
export function chooseGateways(first: URL, listed: readonly string[]): string[] {
  const chosen = new Set([first.href])
  for (const text of listed) {
    if (chosen.size >= limits.gatewaysPerTunnelMax) break
    const url = URL.canParse(text) ? new URL(text) : undefined
    if (url && isDialled(url, first)) chosen.add(url.href)
  }
  return [...chosen]
}

function isDialled(url: URL, first: URL): boolean {
  const isTunnel = url.pathname === '/_/tunnel' && url.search === '' && url.hash === '' && url.username === ''
  if (!isTunnel || (url.protocol !== 'wss:' && url.protocol !== 'ws:')) return false
  if (first.protocol === 'wss:' && url.protocol !== 'wss:') return false
  if (isLoopbackHost(url.hostname) && !isLoopbackHost(first.hostname)) return false
  const hostname = url.hostname.replace(/^\[|\]$/g, '')
  return isIP(hostname) === 0 || mayDial(hostname, { allowPrivate: true })
}
