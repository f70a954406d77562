import { encodeFunctionData } from 'viem'
import { escrowAbi } from '../../protocol/chain/contracts.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { settleDeadline } from '../../protocol/grant.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import type { CommandContext, CommandInput } from '../command.ts'
import { formatGrant, formatTime, readBalances, readGrant } from './escrow.ts'
import { openWriter } from './open.ts'
import {
  type AccountFlags,
  accountOptions,
  type MarketFlags,
  marketOptions,
  pinOptions,
  type WriteFlags,
  writeOptions,
} from './options.ts'
import { resolveProvider } from './resolve-provider.ts'
import { carryOut } from './write.ts'

export const endGrantOptions = {
  ...accountOptions,
  ...marketOptions,
  ...pinOptions,
  ...writeOptions,
} as const

type Flags = MarketFlags & AccountFlags & WriteFlags & { readonly 'accept-identity'?: boolean | undefined }

/** The two steps out of a grant differ in one word of the contract. */
export async function runEndGrant(
  verb: 'revoke' | 'reclaim',
  { positionals: [name = ''], values }: CommandInput<Flags>,
  context: CommandContext,
): Promise<void> {
  const writer = await openWriter(values, context)
  const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
  const provider = await resolveProvider(name, resolving, context)
  const parties = { payer: writer.account.address, provider: provider.address }
  const grant = await readGrant(writer, parties)
  if (!grant) {
    throw new ProtocolError('grant_missing', `${parties.payer} has no open grant for ${provider.name}.`, {
      hint: 'Perhaps another account made it: see --account.',
    })
  }
  context.note(formatGrant(grant, provider.name))
  const plan = {
    title: `${verb === 'revoke' ? 'End' : 'Close'} the grant for ${provider.name}`,
    lines: [['provider', provider.address]],
    facts: { ...parties, name: provider.name },
    steps: [
      {
        label: `${verb} ${provider.name}`,
        to: writer.market.contracts.escrow,
        data: encodeFunctionData({ abi: escrowAbi, functionName: verb, args: [provider.address] }),
      },
    ],
  } as const
  const done = await carryOut(plan, { writer, flags: values }, context)
  if (!done) return
  const { transactions } = done
  const after = await readGrant(writer, parties)
  if (verb === 'revoke' && after) {
    const reclaimableFrom = settleDeadline(after)
    context.print(
      `Revoked. ${formatUsdc(after.budgetUsdc)} USDC can be reclaimed from ${formatTime(reclaimableFrom)} on, less what ${provider.name} settles until then.`,
      { ...plan.facts, budgetUsdc: after.budgetUsdc, reclaimableFrom, transactions },
    )
  } else {
    const { escrowUsdc } = await readBalances(writer, parties.payer)
    context.print(
      `Reclaimed ${formatUsdc(grant.budgetUsdc)} USDC; ${formatUsdc(escrowUsdc)} USDC are free in the escrow.`,
      { ...plan.facts, amountUsdc: grant.budgetUsdc, balanceUsdc: escrowUsdc, transactions },
    )
  }
}
