import type { Address, Hex } from 'viem'
import type { Mux } from '../../protocol/frames/mux.ts'

/** One admitted connection of a provider. */
export interface TunnelSocket {
  /** 32 hex digits; names this connection for ever. */
  readonly tunnelId: string
  readonly provider: Address
  /** The name under which it was admitted. */
  readonly name: string
  /** The provider's process. */
  readonly sessionKey: Hex
  readonly mux: Mux
  /** Wall time. */
  readonly connectedAtMs: number
  /** Whether the provider asked for no new requests here. */
  readonly isLeaving: boolean
  /** Ends the connection now. @param code - WebSocket close code. */
  close(code: number, reason: string): void
}
