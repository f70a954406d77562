import { type Address, getAddress, isAddress } from 'viem'
import { z } from 'zod'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import { type CID, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName } from '../../protocol/name.ts'
import { createAddressList, networkListSchema } from './client-network.ts'

const cidSchema = z.string().refine((text) => contentKey(text) !== undefined, 'Expected a CID')

const providerSchema = z
  .string()
  .refine((text) => isAddress(text, { strict: false }) || isName(text), 'Expected a name or an address')

/** Whom and what an operator does not serve. */
export const denySchema = z.strictObject({
  /** Of deployments: their calls are refused. Of anything: it is not given out at `/ipfs/`. */
  cids: z.array(cidSchema).max(limits.policyEntriesMax).default([]),
  /** Names, or accounts whatever their names. */
  providers: z.array(providerSchema).max(limits.policyEntriesMax).default([]),
  /** Addresses and networks. */
  clients: networkListSchema.default([]),
})
export type DenySettings = z.output<typeof denySchema>

export interface DenyList {
  hasClient(address: string): boolean
  hasProvider(provider: { readonly name: string; readonly address: Address }): boolean
  /** @throws ProtocolError `blocked_by_gateway` */
  assertProvider(provider: { readonly name: string; readonly address: Address }): void
  /** @param contentKey - As `contentKey` gives it. @throws ProtocolError `blocked_by_gateway` */
  assertContent(contentKey: string): void
  hasContent(cid: CID): boolean
  /** Whether any content is denied at all. */
  readonly namesContent: boolean
}

export function createDenyList({ cids, providers, clients }: DenySettings): DenyList {
  const contents = new Set(cids.map(contentKey))
  const names = new Set(
    providers.map((text) => (isAddress(text, { strict: false }) ? getAddress(text) : text)),
  )
  const networks = createAddressList(clients)
  const hasProvider: DenyList['hasProvider'] = ({ name, address }) =>
    names.size > 0 && (names.has(name) || names.has(address))
  return {
    hasClient: (address) => networks.has(address),
    hasProvider,
    assertProvider(provider) {
      if (hasProvider(provider)) throw blocked(`the provider ${provider.name}`)
    },
    assertContent(key) {
      if (contents.has(key)) throw blocked('this deployment')
    },
    namesContent: contents.size > 0,
    hasContent: (cid) => contents.size > 0 && contents.has(keyOf(cid)),
  }
}

/** The same for every spelling of one content: the digest in a CID. @returns undefined for what is no CID. */
export function contentKey(text: string): string | undefined {
  if (text.length < cidCharsMin || text.length > limits.cidBytesMax) return undefined
  try {
    return keyOf(parseContentCid(text))
  } catch (error) {
    if (isProtocolError(error)) return undefined
    throw error
  }
}

/** Of a SHA-256 in any base. */
const cidCharsMin = 40

const keyOf = (cid: CID) => Buffer.from(cid.multihash.digest).toString('hex')

function isName(text: string): boolean {
  try {
    return parseName(text) === text
  } catch {
    return false
  }
}

function blocked(what: string): ProtocolError {
  return new ProtocolError('blocked_by_gateway', `This gateway does not pass calls on to ${what}.`, {
    hint: 'Its operator blocked it, by law or by its own rules: /_/abuse says whom to ask. Other gateways may differ.',
  })
}
