import http from 'node:http'

const variables = ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'HTTPS_PROXY']
/** Where no proxy leads back to: a market on this machine is reached directly, whatever `NO_PROXY` says. */
const ownHosts = ['localhost', '.localhost', '127.0.0.1', '::1']

/**
 * Lets the requests of this process go through the proxies of its environment, those to this machine aside. What is no
 * HTTP proxy is left alone; the tunnel, which dials by itself, says so where it needs one.
 */
export function useProxies(env: Readonly<Record<string, string | undefined>>): void {
  const named = variables.flatMap((name) => {
    const value = env[name]
    return value && URL.canParse(value) && /^https?:/.test(value) ? [[name, value] as const] : []
  })
  if (named.length === 0) return
  const spared = [env['no_proxy'] ?? env['NO_PROXY'], ...ownHosts].filter(Boolean).join(',')
  http.setGlobalProxyFromEnv({ ...Object.fromEntries(named), no_proxy: spared, NO_PROXY: spared })
}
