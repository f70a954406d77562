import { escrowCalls } from '../../protocol/chain/calls.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { settleDeadline } from '../../protocol/grant.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import type { CommandContext, CommandInput } from '../command.ts'
import { readSigner } from '../keys/account.ts'
import { formatGrant, formatTime, readBalances, readOpenGrant } from './escrow.ts'
import { openWriter } from './open.ts'
import {
  type AccountFlags,
  accountOptions,
  type MarketFlags,
  marketOptions,
  pinOptions,
  type SignerFlags,
  signerOptions,
  type WriteFlags,
  writeOptions,
} from './options.ts'
import { resolveProvider } from './resolve-provider.ts'
import { carryOut } from './write.ts'

export const endGrantOptions = {
  ...signerOptions,
  ...accountOptions,
  ...marketOptions,
  ...pinOptions,
  ...writeOptions,
} as const

type Flags = MarketFlags &
  AccountFlags &
  SignerFlags &
  WriteFlags & { readonly 'accept-identity'?: boolean | undefined }

/** The two steps out of a grant differ in one word of the contract. */
export async function runEndGrant(
  verb: 'revoke' | 'reclaim',
  { positionals: [name = ''], values }: CommandInput<Flags>,
  context: CommandContext,
): Promise<void> {
  const writer = await openWriter(values, context)
  const resolving = { ...writer, acceptIdentity: values['accept-identity'] ?? false }
  const provider = await resolveProvider(name, resolving, context)
  const signer = await readSigner(values, writer.market, context)
  const parties = { payer: writer.account.address, provider: provider.address, signer }
  const grant = await readOpenGrant(writer, parties, context.signal)
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
    calls: [escrowCalls(writer.market.contracts.escrow)[verb](provider.address, signer)],
  } as const
  const transactions = await carryOut(plan, { writer, flags: values }, context)
  if (!transactions) return
  const after = await readOpenGrant(writer, parties, context.signal)
  if (verb === 'revoke' && after) {
    const reclaimableFrom = settleDeadline(after)
    context.print(
      `Revoked. ${formatUsdc(after.budgetUsdc)} USDC can be reclaimed from ${formatTime(reclaimableFrom)} on, less what ${provider.name} settles until then.`,
      { ...plan.facts, budgetUsdc: after.budgetUsdc, reclaimableFrom, transactions },
    )
  } else {
    const { escrowUsdc } = await readBalances(writer, parties.payer, context.signal)
    context.print(
      `Reclaimed ${formatUsdc(grant.budgetUsdc)} USDC; ${formatUsdc(escrowUsdc)} USDC are free in the escrow.`,
      { ...plan.facts, amountUsdc: grant.budgetUsdc, balanceUsdc: escrowUsdc, transactions },
    )
  }
}
