import { join } from 'node:path'
import type { Target } from './load.ts'
import type { RunningGateway, RunningProvider } from './market.ts'

/** The program that answers at once, and the ways to it. */

export const helloDir = join(import.meta.dirname, 'programs', 'hello')

export interface ProviderCall {
  readonly name?: string
  readonly cid: string
  /** What pays. */
  readonly headers?: Readonly<Record<string, string>>
}

/** A provider at its own address. */
export function providerTarget(
  { pid, server }: Pick<RunningProvider, 'pid' | 'server'>,
  { name = 'provider', cid, headers = {} }: ProviderCall,
): Target {
  return { name, url: `${server}/${cid}/`, headers, processes: [providerProcess(pid)] }
}

/** A provider by its subdomain of a gateway. */
export function gatewayTarget(
  { gateway, provider }: { gateway: RunningGateway; provider: RunningProvider },
  call: { readonly name: string; readonly subdomain: string; readonly cid: string },
): Target {
  return {
    name: call.name,
    url: `http://127.0.0.1:${gateway.port}/${call.cid}/`,
    host: `${call.subdomain}.${gateway.domain}`,
    processes: [{ role: 'proxy', pid: gateway.pid }, providerProcess(provider.pid)],
  }
}

/** The processes that a provider starts are its sandboxes. */
const providerProcess = (pid: number) => ({ role: 'provider', pid, childrenRole: 'program' })
