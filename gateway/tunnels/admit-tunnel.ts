import { randomBytes } from 'node:crypto'
import { type Address, type Hex, isAddressEqual, type TypedDataDomain } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import type { Clock } from '../../protocol/base/clock.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import {
  formatTunnelMessage,
  parseTunnelMessage,
  type TunnelMessage,
  type VerifyContractSignature,
  verifyTunnelSession,
} from '../../protocol/tunnel.ts'
import { type TicketOffice, verifySessionProof } from '../../protocol/tunnel-ticket.ts'

/** A provider as its name says now: Registry, then Resolver. */
export interface ResolvedProvider {
  readonly address: Address
  readonly name: string
}

/** @returns undefined for a name that nobody owns. @throws ProtocolError `chain_unreachable` */
export type ResolveProvider = (name: string, signal: AbortSignal) => Promise<ResolvedProvider | undefined>

export interface AdmissionDeps {
  readonly clock: Clock
  readonly domain: TypedDataDomain
  readonly gatewayHost: string
  readonly tickets: TicketOffice
  readonly resolveProvider: ResolveProvider
  readonly verifyContractSignature?: VerifyContractSignature
}

/** The two directions of a handshake. */
export interface HandshakeLine {
  read(signal: AbortSignal): Promise<string>
  send(text: string): void
}

export interface Admission {
  readonly provider: Address
  readonly name: string
  readonly sessionKey: Hex
  /** Requests, or the large streams of those. */
  readonly purpose: 'requests' | 'lanes'
}

/**
 * Finds out who dials. Whoever comes must hold the key that the Resolver of the name gives at this moment, or a
 * ticket from when it did.
 *
 * @throws ProtocolError `tunnel_refused`, `provider_unknown`, `bad_request`, and whatever the name's reading throws
 */
export async function admitTunnel(
  deps: AdmissionDeps,
  line: HandshakeLine,
  signal: AbortSignal,
): Promise<Admission> {
  const hello = parseTunnelMessage(await line.read(signal), ['hello'])
  const provider = await deps.resolveProvider(hello.name, signal)
  if (!provider) throw providerUnknown(hello.name)

  const { gatewayHost: gateway } = deps
  const nonce = toHex(randomBytes(32))
  const isKnown = isTicketGood(deps, hello, provider)
  const proof = isKnown ? 'session' : 'account'
  line.send(formatTunnelMessage<'challenge'>({ type: 'challenge', gateway, nonce, proof }))
  const text = await line.read(signal)

  const isProven = isKnown
    ? verifySessionProof({
        sessionKey: hello.sessionKey,
        challenge: { gateway, nonce },
        signature: parseTunnelMessage(text, ['session_proof']).signature,
      })
    : await verifyAccount(deps, { hello, provider, nonce, text }, signal)
  if (!isProven) throw notTheOwner(hello.name)
  return {
    provider: provider.address,
    name: provider.name,
    sessionKey: hello.sessionKey,
    purpose: hello.purpose ?? 'requests',
  }
}

/** A ticket is worth nothing once the name belongs to somebody else. */
function isTicketGood(
  deps: AdmissionDeps,
  hello: TunnelMessage<'hello'>,
  provider: ResolvedProvider,
): boolean {
  const ticket = hello.ticket === undefined ? undefined : deps.tickets.verify(hello.ticket)
  return (
    ticket !== undefined &&
    ticket.sessionKey === hello.sessionKey &&
    isAddressEqual(ticket.provider, provider.address)
  )
}

interface AccountClaim {
  readonly hello: TunnelMessage<'hello'>
  readonly provider: ResolvedProvider
  readonly nonce: Hex
  readonly text: string
}

async function verifyAccount(
  deps: AdmissionDeps,
  { hello, provider, nonce, text }: AccountClaim,
  signal: AbortSignal,
): Promise<boolean> {
  const proof = parseTunnelMessage(text, ['account_proof'])
  if (!isAddressEqual(proof.provider, provider.address)) return false
  const session = {
    provider: provider.address,
    gateway: deps.gatewayHost,
    nonce,
    validBefore: BigInt(proof.validBefore),
    sessionKey: hello.sessionKey,
  }
  const nowSeconds = Math.floor(deps.clock.nowMs() / 1000)
  const facts = { domain: deps.domain, session, signature: proof.signature, nowSeconds }
  return verifyTunnelSession(facts, deps.verifyContractSignature, signal)
}

function notTheOwner(name: string): ProtocolError {
  return new ProtocolError(
    'tunnel_refused',
    `This account is not the provider that the Resolver of "${name}" names.`,
    {
      hint: "Use the key of the Resolver's addr(), check the clock, and dial the gateway by its own host.",
    },
  )
}

function providerUnknown(name: string): ProtocolError {
  return new ProtocolError('provider_unknown', `Nobody has registered the name "${name}".`, {
    hint: 'Register it first: khachapuri provider up.',
  })
}
