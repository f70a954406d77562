import type { Address, Hex, LocalAccount } from 'viem'
import { WebSocket } from 'ws'
import { createFrameParser, type FrameType } from '../../protocol/frames/codec.ts'
import {
  createHandshakeInbox,
  type HandshakeInbox,
  tunnelSocketOptions,
} from '../../protocol/frames/websocket.ts'
import {
  formatTunnelMessage,
  parseTunnelMessage,
  signTunnelSession,
  tunnelSubprotocol,
} from '../../protocol/tunnel.ts'
import { createSessionKey, type SessionKey } from '../../protocol/tunnel-ticket.ts'
import { domain } from './tunnels.ts'

/** A provider's end of a tunnel that says exactly what a test tells it to. */
export interface RawProvider extends AsyncDisposable {
  readonly webSocket: WebSocket
  readonly frames: readonly { readonly type: FrameType; readonly streamId: number; readonly text: string }[]
  readonly tunnelId: string
  readonly ticket: string
  /** Whether the gateway asked for the account's signature, or for the session key's alone. */
  readonly proof: 'account' | 'session'
  send(...frames: Buffer[]): void
}

export interface RawProviderOptions {
  readonly account: LocalAccount
  readonly sessionKey?: SessionKey
  readonly ticket?: string
  readonly name?: string
  /** Signs for another gateway than the one that is dialled. */
  readonly gateway?: string
  /** How long its proof is to hold; a minute unless given. */
  readonly validForSeconds?: number
  /** Says to be another than it signs for. */
  readonly provider?: Address
  /** Signs for another connection than this one. */
  readonly nonce?: Hex
}

/** @throws ProtocolError what the gateway refuses with. */
export async function connectRawProvider(
  tunnelUrl: string,
  { account, name = 'alice', ticket, sessionKey = createSessionKey(), ...options }: RawProviderOptions,
): Promise<RawProvider> {
  const { signal } = new AbortController()
  const { webSocket, inbox } = await openRaw(tunnelUrl)
  const hello = { type: 'hello', name, sessionKey: sessionKey.publicKey } as const
  webSocket.send(formatTunnelMessage<'hello'>({ ...hello, ...(ticket !== undefined && { ticket }) }))
  const { nonce, proof } = parseTunnelMessage(await inbox.read(signal), ['challenge'])
  const gateway = options.gateway ?? new URL(tunnelUrl).host
  if (proof === 'session') {
    const signature = sessionKey.sign({ gateway, nonce })
    webSocket.send(formatTunnelMessage<'session_proof'>({ type: 'session_proof', signature }))
  } else {
    const validBefore = Math.floor(Date.now() / 1000) + (options.validForSeconds ?? 60)
    const provider = account.address
    const session = {
      provider,
      gateway,
      nonce: options.nonce ?? nonce,
      validBefore: BigInt(validBefore),
      sessionKey: sessionKey.publicKey,
    }
    const signature = await signTunnelSession(account, domain, session)
    const said = { provider: options.provider ?? provider, validBefore, signature }
    webSocket.send(formatTunnelMessage<'account_proof'>({ type: 'account_proof', ...said }))
  }
  const welcome = parseTunnelMessage(await inbox.read(signal), ['welcome'])
  const frames: { type: FrameType; streamId: number; text: string }[] = []
  const parser = createFrameParser({
    onFrame: (type, streamId, payload) =>
      void frames.push({ type, streamId, text: payload.toString('latin1') }),
    onData: (streamId, part) => void frames.push({ type: 2, streamId, text: part.toString('latin1') }),
  })
  inbox.handOver((message) => parser.receive(message))
  return {
    webSocket,
    frames,
    tunnelId: welcome.tunnelId,
    ticket: welcome.ticket,
    proof,
    send: (...parts) => webSocket.send(Buffer.concat(parts)),
    async [Symbol.asyncDispose]() {
      webSocket.terminate()
    },
  }
}

/** A WebSocket to the gateway, before any handshake of ours. */
export async function openRaw(
  tunnelUrl: string,
  localAddress = '127.0.0.1',
): Promise<{ webSocket: WebSocket; inbox: HandshakeInbox }> {
  const webSocket = new WebSocket(tunnelUrl, tunnelSubprotocol, { ...tunnelSocketOptions, localAddress })
  const inbox = createHandshakeInbox(webSocket, 1 << 20)
  await new Promise((resolve, reject) => webSocket.on('open', resolve).on('error', reject))
  return { webSocket, inbox }
}
