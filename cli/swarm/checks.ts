import type { Address, Hex, PublicClient } from 'viem'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { SwarmProof } from '../../protocol/swarm/proof.ts'
import type { SwarmCheck, SwarmEvidence } from '../../protocol/swarm/verify-swarm.ts'
import type { CommandContext } from '../command.ts'
import type { OpenMarket } from '../market/open.ts'
import { readProvider } from '../market/resolve-provider.ts'

const marks = { ok: 'ok   ', wrong: 'WRONG', open: '-    ', liar: 'LIAR ' }

export const formatChecks = (checks: readonly SwarmCheck[]): string =>
  checks.map(({ name, verdict, says }) => `${marks[verdict]}  ${name.padEnd(16)}  ${says}`).join('\n')

/** @throws ProtocolError `swarm_differs` where any is wrong; a liar that was outvoted is no reason */
export function assertChecked(
  checks: readonly SwarmCheck[],
  facts: Readonly<Record<string, unknown>> = {},
): void {
  const wrong = checks.filter(({ verdict }) => verdict === 'wrong')
  if (wrong.length === 0) return
  throw new ProtocolError(
    'swarm_differs',
    `The answer is not proved: ${wrong.map(({ name, says }) => `${name} (${says})`).join('; ')}.`,
    {
      hint: 'Do not take the answer. Ask the providers yourself: khachapuri swarm call --direct.',
      details: { wrong: wrong.map(({ name }) => name), checks, ...facts },
    },
  )
}

/** What the chain says of a swarm: who its members are, and which block they were drawn with. */
export async function readEvidence(
  { ballot, members }: SwarmProof,
  opened: OpenMarket,
  context: CommandContext,
): Promise<Required<SwarmEvidence>> {
  const accounts = new Map<string, Address | undefined>()
  await Promise.all(
    members.slice(0, limits.swarmMembersMax).map(async ({ name }) => {
      accounts.set(name, await readAccount(name, opened, context))
    }),
  )
  return { accounts, blockHash: await readBlockHash(opened.client, ballot.block) }
}

async function readAccount(
  name: string,
  opened: OpenMarket,
  context: CommandContext,
): Promise<Address | undefined> {
  try {
    return (await readProvider(name, opened, context)).address
  } catch (error) {
    if (error instanceof ProtocolError && error.code === 'provider_unknown') return undefined
    throw error
  }
}

async function readBlockHash(client: PublicClient, blockNumber: bigint): Promise<Hex | 'none'> {
  const block = await client.getBlock({ blockNumber }).catch((error: Error) => {
    if (error.name === 'BlockNotFoundError') return undefined
    throw error
  })
  return block?.hash ?? 'none'
}
