import {
  type Address,
  type Hex,
  hashTypedData,
  isAddressEqual,
  type LocalAccount,
  recoverAddress,
  type TypedDataDomain,
} from 'viem'
import { z } from 'zod'
import { errorTable, ProtocolError, parseProblem } from './errors.ts'
import { limits } from './limits.ts'
import { addressSchema, describeIssues, hexSchema, secondsSchema } from './schema.ts'

/** WebSocket sub-protocol of the tunnel: the version is negotiated by name. */
export const tunnelSubprotocol = 'khachapuri.tunnel.v1'

/** Where a gateway takes tunnels. */
export const tunnelPath = '/_/tunnel'

/** What a provider signs to open a tunnel. It means nothing at another gateway, for another nonce or later. */
export interface TunnelSession {
  readonly provider: Address
  /** Host (and port, unless it is the scheme's own) that the provider dialled. */
  readonly gateway: string
  /** 32 bytes, chosen by the gateway for this connection. */
  readonly nonce: Hex
  /** Seconds since 1970. */
  readonly validBefore: bigint
  /** Ed25519 public key of the provider's process; it proves later connections without a signature of the account. */
  readonly sessionKey: Hex
}

export const tunnelSessionTypes = {
  TunnelSession: [
    { name: 'provider', type: 'address' },
    { name: 'gateway', type: 'string' },
    { name: 'nonce', type: 'bytes32' },
    { name: 'validBefore', type: 'uint64' },
    { name: 'sessionKey', type: 'bytes32' },
  ],
} as const

/** Signs with the account that the Resolver names, or with an owner of that smart account. */
export function signTunnelSession(
  account: LocalAccount,
  domain: TypedDataDomain,
  session: TunnelSession,
): Promise<Hex> {
  return account.signTypedData({
    domain,
    types: tunnelSessionTypes,
    primaryType: 'TunnelSession',
    message: session,
  })
}

/** Asks a contract account whether a signature is its own (ERC-1271). */
export type VerifyContractSignature = (
  facts: { address: Address; hash: Hex; signature: Hex },
  signal: AbortSignal,
) => Promise<boolean>

export interface TunnelProofFacts {
  readonly domain: TypedDataDomain
  readonly session: TunnelSession
  readonly signature: Hex
  readonly nowSeconds: number
}

/** Whether `session.provider` signed, and in time. Reads the chain only for contract accounts, and only with the port. */
export async function verifyTunnelSession(
  { domain, session, signature, nowSeconds }: TunnelProofFacts,
  verifyContractSignature: VerifyContractSignature | undefined,
  signal: AbortSignal,
): Promise<boolean> {
  const secondsLeft = Number(session.validBefore) - nowSeconds
  if (secondsLeft <= 0 || secondsLeft > limits.tunnelProofAgeSecondsMax) return false
  const hash = hashTypedData({
    domain,
    types: tunnelSessionTypes,
    primaryType: 'TunnelSession',
    message: session,
  })
  // Only 65 bytes can be the signature of a plain account; viem throws on points that are on no curve.
  const signer =
    signature.length === 132 ? await recoverAddress({ hash, signature }).catch(() => undefined) : undefined
  if (signer && isAddressEqual(signer, session.provider)) return true
  if (!verifyContractSignature) return false
  return verifyContractSignature({ address: session.provider, hash, signature }, signal)
}

const tunnelIdSchema = z.string().regex(/^[0-9a-f]{32}$/)
const ticketSchema = z.string().min(1).max(512)
const signatureSchema = z
  .string()
  .regex(/^0x(?:[0-9a-f]{2}){64,2048}$/)
  .transform((text) => text as Hex)

/** The handshake, in order: JSON text messages before the first binary one. */
const schemas = {
  /** Provider: who I am. */
  hello: z.strictObject({
    type: z.literal('hello'),
    name: z.string().min(1).max(limits.nameBytesMax),
    sessionKey: hexSchema(32),
    /** From an earlier welcome of this gateway. */
    ticket: ticketSchema.optional(),
    /** For nothing but large streams of other connections of the same process. */
    purpose: z.literal('lanes').optional(),
  }),
  /** Gateway: prove it. `resume` where the ticket is good, so that the session key is enough. */
  challenge: z.strictObject({
    type: z.literal('challenge'),
    gateway: z.string().min(1).max(255),
    nonce: hexSchema(32),
    proof: z.enum(['account', 'session']),
  }),
  /** Provider: the account's signature of a `TunnelSession`. */
  account_proof: z.strictObject({
    type: z.literal('account_proof'),
    provider: addressSchema,
    validBefore: secondsSchema,
    signature: signatureSchema,
  }),
  /** Provider: the session key's signature of `formatSessionChallenge`. */
  session_proof: z.strictObject({ type: z.literal('session_proof'), signature: hexSchema(64) }),
  /** Gateway: from now on, frames. */
  welcome: z.strictObject({
    type: z.literal('welcome'),
    tunnelId: tunnelIdSchema,
    provider: addressSchema,
    ticket: ticketSchema,
  }),
  /** Gateway: no. */
  refused: z.strictObject({ type: z.literal('refused'), problem: z.record(z.string(), z.unknown()) }),
}

type Schemas = typeof schemas
export type TunnelMessageType = keyof Schemas
export type TunnelMessage<Type extends TunnelMessageType> = z.output<Schemas[Type]>

export function formatTunnelMessage<Type extends TunnelMessageType>(message: TunnelMessage<Type>): string {
  return JSON.stringify(message)
}

/**
 * Reads one message of the handshake, of one of the expected types.
 *
 * @throws ProtocolError `bad_request` for anything else; for a `refused` that was not expected, what it says.
 */
export function parseTunnelMessage<Type extends TunnelMessageType>(
  text: string,
  expected: readonly Type[],
): { [T in Type]: TunnelMessage<T> }[Type] {
  if (text.length > limits.tunnelHandshakeBytesMax) throw messageInvalid(`${text.length} characters`)
  const value = parseJson(text)
  const type = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined
  const known = expected.find((one) => one === type)
  if (known) {
    const parsed = schemas[known].safeParse(value)
    if (!parsed.success) throw messageInvalid(describeIssues(parsed.error))
    return parsed.data as { [T in Type]: TunnelMessage<T> }[Type]
  }
  if (type === 'refused') throw toRefusal(value)
  throw messageInvalid(`something other than ${expected.join(' or ')}`)
}

/** The bytes that a session key signs to resume. */
export function formatSessionChallenge({ gateway, nonce }: { gateway: string; nonce: Hex }): Uint8Array {
  return new TextEncoder().encode(`Khachapuri tunnel resume\n${gateway}\n${nonce}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw messageInvalid('no JSON')
  }
}

function toRefusal(value: unknown): ProtocolError {
  const parsed = schemas.refused.safeParse(value)
  const problem = parsed.success ? parseProblem(parsed.data.problem) : undefined
  if (!problem || !Object.hasOwn(errorTable, problem.code))
    return messageInvalid('a refusal without a reason')
  return new ProtocolError(problem.code, problem.detail.slice(0, 500), { hint: problem.hint.slice(0, 500) })
}

function messageInvalid(what: string): ProtocolError {
  return new ProtocolError('bad_request', `The other end of the tunnel sent ${what} in the handshake.`, {
    hint: 'Use the same version at both ends, and check the address of the gateway.',
  })
}
