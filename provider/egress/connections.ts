import { Socket } from 'node:net'
import { type DialTarget, dialChecked, type Lookup } from '../../protocol/http/dial-checked.ts'
import type { EgressBudget } from './budget.ts'
import { blocked, busy, exhausted, tooSlow, unknownName } from './refusals.ts'

/** The network as programs reach it. */
export interface EgressNetwork {
  readonly lookup: Lookup
  /** Also this machine and its network, for development chains. Link-local and metadata addresses never. */
  readonly allowPrivate: boolean
  /** Certificates to trust beside the machine's own. */
  readonly ca?: string
}

/** The connections that one program has to servers: bounded, counted, closed with it. */
export interface Connections extends Disposable {
  /**
   * Dials a server, at an address that was checked. What arrives is counted. Where something is too much, the socket fails
   * with a `ProtocolError` of this room.
   */
  open(target: DialTarget): Socket
  readonly count: number
  readonly isFull: boolean
}

export function createConnections(
  { network, budget }: { network: EgressNetwork; budget: EgressBudget },
  { connectionsMax }: { connectionsMax: number },
): Connections {
  const open = new Set<Socket>()
  const refusals = {
    blocked,
    tooSlow: () => tooSlow('The server'),
    unknown: unknownName,
  }
  /** Those that have been destroyed say so a little later. */
  function count(): number {
    for (const socket of open) if (socket.destroyed) open.delete(socket)
    return open.size
  }

  return {
    open(target) {
      if (count() >= connectionsMax) {
        return new Socket().destroy(busy(`The program has ${connectionsMax} connections open.`))
      }
      const socket = dialChecked(target, network, refusals)
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      // What the far side sends is paid for when it has come, whether or not it is an answer.
      socket.on('data', (chunk: Buffer) => {
        if (!budget.take('receivedBytes', chunk.length)) socket.destroy(exhausted('receivedBytes'))
      })
      return socket
    },
    get count() {
      return count()
    },
    get isFull() {
      return count() >= connectionsMax
    },
    [Symbol.dispose]() {
      for (const socket of open) socket.destroy()
    },
  }
}
