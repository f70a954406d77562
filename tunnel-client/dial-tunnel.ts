import type { connect, LookupFunction, Socket } from 'node:net'
import type { Address, LocalAccount, TypedDataDomain } from 'viem'
import { WebSocket } from 'ws'
import { MiB, readBounded } from '../protocol/base/bytes.ts'
import type { Clock } from '../protocol/base/clock.ts'
import { isProtocolError, ProtocolError, parseProblem } from '../protocol/errors.ts'
import {
  createHandshakeInbox,
  type HandshakeInbox,
  tunnelSocketOptions,
} from '../protocol/frames/websocket.ts'
import { limits } from '../protocol/limits.ts'
import {
  formatTunnelMessage,
  parseTunnelMessage,
  signTunnelSession,
  type TunnelMessage,
  tunnelSubprotocol,
} from '../protocol/tunnel.ts'
import type { SessionKey } from '../protocol/tunnel-ticket.ts'
import { connectThroughProxy } from './connect-through-proxy.ts'
import { findProxy, isLoopbackHost, type ProxyEnv } from './find-proxy.ts'

export interface Credentials {
  readonly name: string
  readonly account: LocalAccount
  /** The address that the Resolver names; another than the account's where that is a smart account. */
  readonly provider: Address
  readonly domain: TypedDataDomain
  readonly sessionKey: SessionKey
  readonly ticket: string | undefined
  readonly purpose: 'requests' | 'lanes'
}

/** An admitted connection; frames come next. */
export interface DialedTunnel {
  readonly webSocket: WebSocket
  readonly socket: Socket
  readonly inbox: HandshakeInbox
  readonly tunnelId: string
  readonly ticket: string
}

/**
 * Connects to a gateway and proves who we are.
 *
 * @throws ProtocolError `tunnel_lost` where the connection fails, else what the gateway says: `tunnel_refused`,
 *   `provider_unknown`, `too_many_requests`, …
 */
export async function dialTunnel(
  { clock, lookup, proxyEnv }: { clock: Clock; lookup: LookupFunction; proxyEnv: ProxyEnv },
  {
    gatewayUrl,
    credentials,
    localAddress,
  }: { gatewayUrl: URL; credentials: Credentials; localAddress: string | undefined },
  signal: AbortSignal,
): Promise<DialedTunnel> {
  const proxy = findProxy(gatewayUrl, proxyEnv)
  const webSocket = new WebSocket(gatewayUrl, tunnelSubprotocol, {
    ...tunnelSocketOptions,
    lookup,
    ...(localAddress !== undefined && { localAddress }),
    ...(proxy && { createConnection: through({ proxy, target: gatewayUrl, lookup }, signal) }),
    handshakeTimeout: limits.connectTimeoutMs,
    ...(isUnseen(gatewayUrl) && { generateMask: (mask: Buffer) => void mask.fill(0) }),
  })
  const terminate = () => webSocket.terminate()
  signal.addEventListener('abort', terminate, { once: true })
  try {
    const inbox = createHandshakeInbox(webSocket, frameBytesEarlyMax)
    const socket = await opened(webSocket)
    socket.setNoDelay(true)
    const { tunnelId, ticket } = await shakeHands(
      { clock, webSocket, inbox, gatewayUrl, credentials },
      signal,
    )
    return { webSocket, socket, inbox, tunnelId, ticket }
  } catch (error) {
    webSocket.terminate()
    throw error
  } finally {
    signal.removeEventListener('abort', terminate)
  }
}

type OnConnection = (error: Error | null, socket?: Socket) => void

/** What `node:http` calls for a connection that takes its time. */
function through(way: Parameters<typeof connectThroughProxy>[0], signal: AbortSignal): typeof connect {
  const open = (_: unknown, onConnection: OnConnection) => {
    connectThroughProxy(way, signal).then((socket) => onConnection(null, socket), onConnection)
  }
  // The typings know only connections that are there at once.
  return open as unknown as typeof connect
}

/**
 * Whether no proxy on the way can read the bytes and be confused by them: under TLS, and within this machine. Then a
 * mask of zeros will do, which costs nothing; others take more CPU than all the rest of a large body.
 */
function isUnseen({ protocol, hostname }: URL): boolean {
  return protocol === 'wss:' || isLoopbackHost(hostname)
}

/** Requests may follow the welcome at once. */
const frameBytesEarlyMax = 4 * MiB

function opened(webSocket: WebSocket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    let socket: Socket
    webSocket.on('upgrade', (response) => {
      socket = response.socket
    })
    webSocket.on('open', () => resolve(socket))
    webSocket.on('error', (error) => reject(isProtocolError(error) ? error : unreachable(error.message)))
    webSocket.on('unexpected-response', (request, response) => {
      const refuse = (bytes: Uint8Array | undefined) => {
        request.destroy()
        reject(toRefusal(response.statusCode, bytes))
      }
      readBounded(response, limits.problemBytesMax).then(refuse, () => refuse(undefined))
    })
  })
}

interface Handshake {
  readonly clock: Clock
  readonly webSocket: WebSocket
  readonly inbox: HandshakeInbox
  readonly gatewayUrl: URL
  readonly credentials: Credentials
}

async function shakeHands(
  handshake: Handshake,
  callerSignal: AbortSignal,
): Promise<TunnelMessage<'welcome'>> {
  const { clock, webSocket, inbox, gatewayUrl, credentials } = handshake
  const over = new AbortController()
  const expire = () => over.abort(unreachable('it does not answer'))
  clock.sleep(limits.tunnelHandshakeTimeoutMs, over.signal).then(expire, () => undefined)
  const signal = AbortSignal.any([callerSignal, over.signal])
  try {
    const { name, sessionKey, ticket, purpose } = credentials
    webSocket.send(
      formatTunnelMessage<'hello'>({
        type: 'hello',
        name,
        sessionKey: sessionKey.publicKey,
        ...(ticket !== undefined && { ticket }),
        ...(purpose === 'lanes' && { purpose }),
      }),
    )
    const challenge = parseTunnelMessage(await inbox.read(signal), ['challenge'])
    // What is signed is where we dialled, not where the other end says it is: a proof for one gateway is none for another.
    if (challenge.gateway !== gatewayUrl.host) throw wrongGateway(gatewayUrl.host, challenge.gateway)
    webSocket.send(await prove(handshake, challenge))
    return parseTunnelMessage(await inbox.read(signal), ['welcome'])
  } finally {
    over.abort()
  }
}

async function prove(
  { clock, gatewayUrl, credentials }: Handshake,
  { nonce, proof }: TunnelMessage<'challenge'>,
): Promise<string> {
  const { account, provider, domain, sessionKey } = credentials
  const gateway = gatewayUrl.host
  if (proof === 'session') {
    const signature = sessionKey.sign({ gateway, nonce })
    return formatTunnelMessage<'session_proof'>({ type: 'session_proof', signature })
  }
  const validBefore = Math.floor(clock.nowMs() / 1000) + limits.tunnelProofAgeSecondsMax / 2
  const signature = await signTunnelSession(account, domain, {
    provider,
    gateway,
    nonce,
    validBefore: BigInt(validBefore),
    sessionKey: sessionKey.publicKey,
  })
  return formatTunnelMessage<'account_proof'>({ type: 'account_proof', provider, validBefore, signature })
}

function toRefusal(status: number | undefined, bytes: Uint8Array | undefined): ProtocolError {
  let problem: ReturnType<typeof parseProblem>
  try {
    problem = parseProblem(JSON.parse(new TextDecoder().decode(bytes)))
  } catch {
    problem = undefined
  }
  if (!problem) return unreachable(`it answers ${status}`)
  return new ProtocolError(problem.code, problem.detail, { hint: problem.hint })
}

function unreachable(reason: string): ProtocolError {
  return new ProtocolError('tunnel_lost', `The gateway cannot be reached: ${reason}.`, {
    hint: 'It is tried again.',
  })
}

function wrongGateway(dialled: string, answered: string): ProtocolError {
  return new ProtocolError('tunnel_refused', `The gateway dialled as ${dialled} calls itself ${answered}.`, {
    hint: 'Dial it by its own host, or set the host that it believes to have.',
  })
}
