import { randomBytes } from 'node:crypto'
import type { Duplex } from 'node:stream'
import type { Address, Hex } from 'viem'
import type { WebSocket } from 'ws'
import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import { createLiveness, type Liveness } from '../../protocol/frames/liveness.ts'
import { createMux, type Mux } from '../../protocol/frames/mux.ts'
import type { Stream } from '../../protocol/frames/mux-stream.ts'
import { createWebSocketTransport, type HandshakeInbox } from '../../protocol/frames/websocket.ts'
import type { Admission } from './admit-tunnel.ts'

/** One admitted connection of a provider. */
export interface TunnelSocket {
  /** 32 hex digits; names this connection for ever. */
  readonly tunnelId: string
  readonly provider: Address
  /** The name under which it was admitted. */
  readonly name: string
  /** The provider's process. */
  readonly sessionKey: Hex
  /** Requests, or the large streams of those. */
  readonly purpose: 'requests' | 'lanes'
  readonly mux: Mux
  /** Wall time. */
  readonly connectedAtMs: number
  /** Whether the provider asked for no new requests here. */
  readonly isLeaving: boolean
  /** Looks whether the provider is still there; to be called about once a second. */
  checkLiveness(): void
  /** Ends the connection now. @param code - WebSocket close code. */
  close(code: number, reason: string): void
}

/** WebSocket close codes of this protocol. */
export const closeCodes = { done: 1000, leaving: 1001, refused: 4403 } as const

export interface AdmittedSocket {
  readonly clock: Clock
  readonly log: Log
  readonly webSocket: WebSocket
  readonly socket: Duplex
  readonly inbox: HandshakeInbox
  readonly admitted: Admission
  /** A stream has become large. */
  readonly onLarge: (socket: TunnelSocket, stream: Stream) => void
  /** The last stream is over. */
  readonly onIdle: (socket: TunnelSocket) => void
}

/** Begins to speak frames on a connection whose handshake is over. */
export const openTunnel = (options: AdmittedSocket): TunnelSocket => new AdmittedTunnel(options)

/** A class, because there may be thousands that do nothing. */
class AdmittedTunnel implements TunnelSocket {
  readonly tunnelId = randomBytes(16).toString('hex')
  readonly provider: Address
  readonly name: string
  readonly sessionKey: Hex
  readonly purpose: 'requests' | 'lanes'
  readonly mux: Mux
  readonly connectedAtMs: number
  isLeaving = false
  readonly #clock: Clock
  readonly #webSocket: WebSocket
  #liveness: Liveness | undefined

  constructor({ clock, log, webSocket, socket, inbox, admitted, onLarge, onIdle }: AdmittedSocket) {
    const { tunnelId } = this
    this.provider = admitted.provider
    this.name = admitted.name
    this.sessionKey = admitted.sessionKey
    this.purpose = admitted.purpose
    this.connectedAtMs = clock.nowMs()
    this.#clock = clock
    this.#webSocket = webSocket
    this.mux = createMux({
      transport: createWebSocketTransport(webSocket, socket),
      clock,
      onGoaway: () => {
        this.isLeaving = true
        this.#closeIfLeft()
      },
      onIdle: () => {
        this.#closeIfLeft()
        onIdle(this)
      },
      onLarge: (stream) => onLarge(this, stream),
      onInvalid: (error) => log.warn('tunnel_invalid', { ...admitted, tunnelId, error: error.message }),
    })
    inbox.handOver((message) => this.mux.receive(message))
  }

  checkLiveness(): void {
    // Not before the welcome has been sent: the provider takes what follows it for frames.
    if (this.#liveness) this.#liveness.check()
    else {
      const onDead = () => this.#webSocket.terminate()
      this.#liveness = createLiveness({ mux: this.mux, clock: this.#clock, onDead })
    }
  }

  close(code: number, reason: string): void {
    closeNow(this.#webSocket, code, reason)
  }

  /** The gateway closes, because it alone knows when it has nothing more on the way. */
  #closeIfLeft(): void {
    if (this.isLeaving && this.mux.streams === 0) closeNow(this.#webSocket, closeCodes.done, 'done')
  }
}

/** Says why, and waits for no answer. */
export function closeNow(webSocket: WebSocket, code: number, reason: string): void {
  webSocket.close(code, reason)
  setImmediate(() => webSocket.terminate())
}
