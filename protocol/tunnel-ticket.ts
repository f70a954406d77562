import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto'
import { type Address, getAddress, type Hex } from 'viem'
import { base64url, toHex } from './base/bytes.ts'
import { limits } from './limits.ts'
import { formatSessionChallenge } from './tunnel.ts'

/**
 * What a gateway gives to a provider whose account it has checked. With it and the session key the next connection
 * needs no signature of the account, which would cost 1.4 ms for each of ten thousand tunnels after a restart.
 */
export interface TunnelTicket {
  readonly provider: Address
  readonly sessionKey: Hex
}

export interface TicketOffice {
  issue(ticket: TunnelTicket): string
  /** @returns undefined for a ticket of another gateway, an altered or an old one. */
  verify(text: string): TunnelTicket | undefined
}

const payloadBytes = 20 + 32 + 8
const macBytes = 32

/**
 * Tickets are HMAC-SHA256 over `provider | session key | expiry` and the gateway's host.
 *
 * @param key - At least 32 bytes; processes that share it accept each other's tickets.
 */
export function createTicketOffice(
  { nowMs }: { nowMs: () => number },
  { key, gatewayHost }: { key: Uint8Array; gatewayHost: string },
): TicketOffice {
  const macOf = (payload: Uint8Array) =>
    createHmac('sha256', key).update(payload).update(gatewayHost).digest()
  return {
    issue({ provider, sessionKey }) {
      const payload = Buffer.alloc(payloadBytes)
      payload.write(provider.slice(2), 0, 'hex')
      payload.write(sessionKey.slice(2), 20, 'hex')
      payload.writeBigUInt64BE(BigInt(Math.floor(nowMs() / 1000) + limits.tunnelTicketAgeSecondsMax), 52)
      return base64url.encode(Buffer.concat([payload, macOf(payload)]))
    },
    verify(text) {
      const bytes = base64url.decode(text)
      if (bytes?.length !== payloadBytes + macBytes) return undefined
      const payload = Buffer.from(bytes.subarray(0, payloadBytes))
      if (!timingSafeEqual(macOf(payload), bytes.subarray(payloadBytes))) return undefined
      if (payload.readBigUInt64BE(52) <= BigInt(Math.floor(nowMs() / 1000))) return undefined
      return {
        provider: getAddress(toHex(payload.subarray(0, 20))),
        sessionKey: toHex(payload.subarray(20, 52)),
      }
    },
  }
}

/** The key of one provider process. Its private half never leaves the process. */
export interface SessionKey {
  readonly publicKey: Hex
  sign(challenge: { gateway: string; nonce: Hex }): Hex
}

export function createSessionKey(): SessionKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  return {
    publicKey: toHex(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
    sign: (challenge) => toHex(sign(null, formatSessionChallenge(challenge), privateKey)),
  }
}

export function verifySessionProof({
  sessionKey,
  challenge,
  signature,
}: {
  sessionKey: Hex
  challenge: { gateway: string; nonce: Hex }
  signature: Hex
}): boolean {
  return verify(
    null,
    formatSessionChallenge(challenge),
    toKeyObject(sessionKey),
    Buffer.from(signature.slice(2), 'hex'),
  )
}

/** RFC 8410: what stands before the 32 bytes of an Ed25519 key in its DER form. */
const ed25519Prefix = Buffer.from('302a300506032b6570032100', 'hex')

function toKeyObject(publicKey: Hex): KeyObject {
  const der = Buffer.concat([ed25519Prefix, Buffer.from(publicKey.slice(2), 'hex')])
  return createPublicKey({ key: der, format: 'der', type: 'spki' })
}
