import type { IncomingHttpHeaders } from 'node:http'
import type { Address } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import type { SeedBlocks } from '../../protocol/chain/seed-blocks.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type CID, digestOfCid } from '../../protocol/ipfs/cid.ts'
import { type Name, type ProviderName, parseName } from '../../protocol/name.ts'
import { parseSwarmTerms, type SwarmTerms, swarmHeaders } from '../../protocol/swarm/ballot.ts'
import { noPaymentsForSwarms } from '../../protocol/swarm/refusals.ts'
import { selectionSeed, selectMembers } from '../../protocol/swarm/select-members.ts'
import { x402Headers } from '../../protocol/x402.ts'
import { type Serving, selectServers } from '../routing/find-servers.ts'
import type { SwarmSeat } from './member-ways.ts'
import type { SwarmWish } from './swarm-upstream.ts'

/** @returns undefined for any other call. @throws ProtocolError `swarm_invalid`, `ballot_payment_unsupported` */
export function readSwarmTerms(headers: IncomingHttpHeaders): SwarmTerms | undefined {
  const text = headers[swarmHeaders.swarm]
  if (text === undefined) return undefined
  const terms = parseSwarmTerms(Array.isArray(text) ? text.join(', ') : text)
  if (headers['idempotency-key'] !== undefined || headers['upgrade'] !== undefined)
    throw noSwarm('A swarm takes no Idempotency-Key and no WebSocket.', 'Send it without.')
  if (headers[x402Headers.signature] !== undefined) throw noPaymentsForSwarms()
  return terms
}

export const noSwarm = (message: string, hint: string) =>
  new ProtocolError('swarm_invalid', message, { hint })

export interface DrawFacts {
  readonly cid: CID
  readonly serving: Serving
  /** Whom this gateway knows, each account once. */
  readonly known: readonly ProviderName[]
  /** Whether a provider is there now, as far as this gateway knows. */
  readonly isThere: (provider: ProviderName) => boolean
}

/**
 * Draws the members of a swarm, as each of them and anybody else does.
 *
 * @throws ProtocolError `swarm_members_unknown`, `swarm_too_large`, `chain_unreachable`
 */
export async function drawSwarm(
  { cid, serving, known, isThere }: DrawFacts,
  terms: SwarmTerms,
  seedBlocks: Pick<SeedBlocks, 'latest'>,
  signal: AbortSignal,
): Promise<Omit<SwarmWish, 'host'>> {
  const servers = await selectServers(serving, known)
  const candidates = candidatesOf(serving, servers)
  const live = servers.filter(isThere).length
  const { members } = terms
  if (members > live) {
    throw new ProtocolError(
      'swarm_too_large',
      `${members} members are wanted, and ${live} providers of this deployment are there.`,
      { hint: `Ask for ${live} at most, or deploy it to more.`, details: { members, live } },
    )
  }
  const block = await seedBlocks.latest(signal)
  const drawn = selectMembers(selectionSeed(block.hash, toHex(digestOfCid(cid))), candidates, members)
  const seats = drawn.map((address): SwarmSeat => {
    const provider = servers.find((one) => one.address === address)
    return { address, provider, name: provider?.name ?? unnamed(address) }
  })
  return { cid, terms, block, candidates, seats }
}

function candidatesOf(serving: Serving, servers: readonly ProviderName[]): readonly Address[] {
  if (serving.kind === 'accounts') return serving.accounts
  if (serving.kind === 'keys' && servers.length >= serving.kids.length)
    return servers.map(({ address }) => address)
  throw new ProtocolError(
    'swarm_members_unknown',
    serving.kind === 'keys'
      ? `The deployment is sealed for ${serving.kids.length} providers, of whom this gateway knows ${servers.length}.`
      : 'The deployment names no providers: nobody can say who was drawn.',
    {
      hint:
        serving.kind === 'keys'
          ? 'Call each of them by its name once, or have them announce themselves here.'
          : 'Deploy it with --provider <name> for each provider that should serve it.',
    },
  )
}

/** For one that nobody here has a name for. */
const unnamed = (address: Address): Name => parseName(address)
