import { raceSignal } from '../../../protocol/base/signal.ts'
import type { Egress } from '../../../protocol/egress.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
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
 * @param way.timeoutMs - How long the launcher has to hand it over: a program without the way out that it was promised would
 * fail later, by no fault of its own.
 * @returns undefined where the program has no network, or its sandbox has ended
 * @throws ProtocolError `sandbox_unavailable` when that is over
 */
export async function openWayOut(
  { handover }: Pick<Cell, 'handover'>,
  { network, egress, timeoutMs }: WayOut,
  signal: AbortSignal,
): Promise<EgressProxy | undefined> {
  if (egress === 'none' || !handover) return undefined
  const deadline = AbortSignal.timeout(timeoutMs)
  const handed = handover.listener().catch(() => undefined)
  const listener = await raceSignal(handed, AbortSignal.any([signal, deadline])).catch((error) => {
    // One that comes later is nobody's: it would stay open, with the whole network of a sandbox that has ended.
    void handed.then((late) => late?.close())
    signal.throwIfAborted()
    if (!deadline.aborted) throw error
    throw new ProtocolError('sandbox_unavailable', 'A sandbox on this provider got no way to the network.', {
      hint: 'Send the call again, or to another provider.',
    })
  })
  return listener && openEgressProxy({ network }, { at: { listener }, egress })
}

export interface WayOut {
  readonly network: EgressNetwork
  readonly egress: Egress
  readonly timeoutMs: number
}
