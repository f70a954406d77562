import type { LocalAccount } from 'viem'
import { createLog } from '../../protocol/base/log.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { readBond } from '../../protocol/chain/registry.ts'
import { isDevChain } from '../../protocol/dev-chain.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { Name, NameRecord } from '../../protocol/name.ts'
import { assertRegistrable } from '../../protocol/registration.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import type { CommandContext } from '../command.ts'
import { giveBond, giveEther } from '../market/dev-ether.ts'
import type { OpenMarket } from '../market/open.ts'

export interface NamePreparation extends OpenMarket {
  readonly name: Name
  readonly account: LocalAccount
  /** Register without a question. */
  readonly yes: boolean
}

/**
 * Says no to a name that a new account cannot get, before that account is made: nothing is left of such a try.
 *
 * @throws ProtocolError `name_taken`, `name_malformed`, `chain_unreachable`
 */
export async function assertObtainable(
  { market, client, name }: OpenMarket & { readonly name: Name },
  { clock, signal }: CommandContext,
): Promise<void> {
  const names = createNameReader(
    { client, clock, log: createLog({ level: 'silent' }) },
    { registry: market.contracts.registry },
  )
  const found = await names.readName(name, signal)
  if (!found) return assertRegistrable(name)
  throw new ProtocolError('name_taken', `The name "${name}" is that of the account ${found.owner}.`, {
    hint: 'Choose another one with --domain, or its account with --account.',
  })
}

/**
 * Sees to it that an account can register a name, where nobody owns it: that costs gas and takes a bond. On a development
 * chain both are a gift, elsewhere they are asked for.
 *
 * @returns what the chain says of the name; undefined where it is to be registered.
 * @throws ProtocolError `balance_too_low`, `name_malformed`, `not_confirmed`, `chain_unreachable`
 */
export async function prepareName(
  { market, client, name, account, yes }: NamePreparation,
  context: CommandContext,
): Promise<NameRecord | undefined> {
  const { clock, signal } = context
  const { registry } = market.contracts
  const isDev = isDevChain(market)
  if (isDev) await giveEther({ market, client }, new Set([account.address]), signal)
  const names = createNameReader({ client, clock, log: createLog({ level: 'silent' }) }, { registry })
  const found = await names.readName(name, signal)
  if (found) return found
  assertRegistrable(name)
  const bond = await readBond(client, registry, signal)
  if (isDev) {
    await giveBond({ market, client, account }, bond, context)
    return undefined
  }
  const { address } = account
  const balanceWei = await reachChain(client.getBalance({ address }), 'read the ether', signal)
  if (balanceWei === 0n) {
    throw new ProtocolError(
      'balance_too_low',
      `The account ${address} has no ETH to register "${name}" with.`,
      {
        hint: `Send it some on chain ${market.chainId}, and start again.`,
      },
    )
  }
  context.note(
    `"${name}" is not registered yet. This takes four transactions of ${address}, which cost gas, a minute, and a bond of ${formatUsdc(bond.amountUsdc)} USDC, which comes back when the name is given back.`,
  )
  if (!yes) await context.confirm(`Register "${name}"?`)
  return undefined
}
