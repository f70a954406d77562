import type { Egress } from '../../../protocol/egress.ts'
import type { EgressNetwork } from '../../egress/connections.ts'
import { type EgressProxy, openEgressProxy } from '../../egress/egress-proxy.ts'
import type { Cell } from '../sandbox/cell.ts'

/** Of the sandbox's own 127.0.0.1, where its programs find the proxy. */
export const proxyPort = 3128

/** What a program finds in its environment: how everything that speaks HTTP is told of a proxy. */
export function proxyVariables(egress: Egress): Record<string, string> {
  if (egress === 'none') return {}
  const url = `http://127.0.0.1:${proxyPort}`
  const own = 'localhost,127.0.0.1'
  // HTTP_PROXY is a request's header to some that find REQUEST_METHOD beside it (httpoxy.org); no header becomes it here.
  return {
    ...{ http_proxy: url, https_proxy: url, no_proxy: own },
    ...{ HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: own },
  }
}

/**
 * Opens a proxy at the listener that the launcher makes inside the program's network: the only thing there beside itself.
 *
 * @returns undefined where the program has no network, or its sandbox has ended
 */
export async function openWayOut(
  { handover }: Pick<Cell, 'handover'>,
  { network, egress }: { network: EgressNetwork; egress: Egress },
): Promise<EgressProxy | undefined> {
  if (egress === 'none') return undefined
  const listener = await handover?.listener().catch(() => undefined)
  return listener && openEgressProxy({ network }, { at: { listener }, egress })
}
