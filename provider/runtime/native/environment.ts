import type { UpstreamRequest } from '../../../protocol/http/upstream.ts'
import { toMetaVariables } from '../cgi/cgi.ts'
import type { StartOptions } from '../runtime.ts'

/** What every native program finds in its environment; secrets may say otherwise. */
const basics = { PATH: '/usr/bin:/bin', HOME: '/tmp' } as const

/** Public settings come as one variable of JSON, secrets as they are. */
export function formatEnvironment({
  env,
  params,
}: Pick<StartOptions, 'env' | 'params'>): Record<string, string> {
  return { ...basics, ...env, KHACHAPURI_PARAMS: JSON.stringify(params ?? null) }
}

/** A request's head as the variables of CGI. */
export function formatRequest({ method, target, rawHeaders }: UpstreamRequest): Record<string, string> {
  const headers = joinHeaders(rawHeaders)
  const host = headers.get('host') ?? 'localhost'
  const base = URL.canParse(`http://${host}`) ? `http://${host}` : 'http://localhost'
  const url = URL.canParse(base + target) ? base + target : base
  return toMetaVariables({ method, url, headers })
}

/** A header that was sent twice is one variable (RFC 9110 section 5.3). */
function joinHeaders(rawHeaders: readonly string[]): Map<string, string> {
  const joined = new Map<string, string>()
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!.toLowerCase()
    const value = rawHeaders[index + 1]!
    const before = joined.get(name)
    joined.set(name, before === undefined ? value : `${before}${name === 'cookie' ? '; ' : ', '}${value}`)
  }
  return joined
}
