import { clientNetwork } from '../../protocol/http/client-network.ts'
import type { IncomingRequest } from '../../protocol/http/listener.ts'

/** Whoever sent a request, as long as nothing is proved. */
export type Asker = Pick<IncomingRequest, 'headers' | 'socket'>

/** Where a request comes from. */
export interface Source {
  /** The caller's place on the network: as the other end says, and for that end only. */
  readonly network: string
  /** The other end of the connection: the caller itself, or a gateway. */
  readonly peer: string
}

/**
 * Where a request comes from. A gateway says truly for whom it asks; but whoever connects here directly can say the same,
 * so what is said counts only beside who says it: nobody can pass for the caller of a gateway, or for another gateway.
 */
export function sourceOf({ headers, socket }: Asker): Source {
  const peer = clientNetwork(socket.remoteAddress ?? '')
  const forwarded = [headers['x-forwarded-for'] ?? ''].flat().join(',')
  // Each gateway on the way adds to the end.
  const last = forwarded.slice(forwarded.lastIndexOf(',') + 1).trim()
  return { network: `${peer} ${clientNetwork(last.slice(0, addressCharsMax))}`, peer }
}

/** An IPv6 address with an IPv4 one at its end. */
const addressCharsMax = 45
