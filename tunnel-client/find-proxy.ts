import { ProtocolError } from '../protocol/errors.ts'

/** The environment, or what stands for it. */
export type ProxyEnv = Readonly<Record<string, string | undefined>>

/** Within this machine, where no proxy leads back to. */
export const isLoopbackHost = (hostname: string): boolean =>
  /^(?:(?:.+\.)?localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)

/**
 * The proxy by which a URL is to be reached, as curl reads the environment: `https_proxy` for `wss:` and `https:`,
 * `http_proxy` for the others, else `all_proxy`; not for what `no_proxy` names, and never for this machine. In either case
 * of letters; small ones go first.
 *
 * @throws ProtocolError `config_invalid` for what is no HTTP proxy, without its password
 */
export function findProxy(url: URL, env: ProxyEnv): URL | undefined {
  const isSecure = url.protocol === 'wss:' || url.protocol === 'https:'
  const [variable, text] = read(env, isSecure ? 'https_proxy' : 'http_proxy', 'all_proxy')
  if (!text || isLoopbackHost(url.hostname) || isExempt(url, read(env, 'no_proxy')[1])) return undefined
  const written = text.includes('://') ? text : `http://${text}`
  const proxy = URL.canParse(written) ? new URL(written) : undefined
  if (proxy?.protocol === 'http:' || proxy?.protocol === 'https:') return proxy
  throw new ProtocolError('config_invalid', `The variable ${variable} names no proxy that speaks HTTP.`, {
    hint: 'Write it as in http://user:password@proxy.example:3128, or add the gateway to NO_PROXY.',
  })
}

function read(env: ProxyEnv, ...names: readonly string[]): readonly [name: string, value: string] {
  for (const name of names.flatMap((one) => [one, one.toUpperCase()])) {
    const value = env[name]?.trim()
    if (value) return [name, value]
  }
  return ['', '']
}

/** `*`, hosts with all that is below them, with or without a leading dot, and a port where only that one is meant. */
function isExempt({ hostname, port, protocol }: URL, list: string): boolean {
  const ownPort = port || (protocol === 'wss:' || protocol === 'https:' ? '443' : '80')
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean)
    .some((entry) => {
      if (entry === '*') return true
      const written = entry.replace(/^\*?\./, '')
      // One colon begins a port; more are an IPv6 address.
      const [, host = '', onlyPort] = /^([^:]*|\[.*\]):(\d+)$/.exec(written) ?? [written, written]
      if (onlyPort !== undefined && onlyPort !== ownPort) return false
      return hostname === host || hostname === `[${host}]` || hostname.endsWith(`.${host}`)
    })
}
