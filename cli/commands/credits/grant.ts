import { escrowCalls } from '../../../protocol/chain/calls.ts'
import { defineCommand, usageError } from '../../command.ts'
import { readAccountAddress } from '../../keys/account.ts'
import { readCredits } from '../../market/credits.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../../market/options.ts'
import { carryOut } from '../../market/write.ts'

/** At one go; a slip of the finger should not give away a machine for years. */
const callsMax = 1_000_000

export const creditsGrant = defineCommand({
  usage: 'credits grant <user> <calls>',
  details:
    'Gives a user trial calls, as the provider whose account signs. They are no money: nobody can withdraw them, and you\n' +
    'cannot take them back. The user calls you with a pass; while it has no grant for you, each answered call uses one.\n' +
    '<user> is an address, or the name of an account in the keystore. Granting twice adds up.',
  options: { ...accountOptions, ...marketOptions, ...writeOptions },
  examples: [
    'credits grant 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 5 --account alice',
    'credits grant developer 5 --account alice --yes',
  ],
  async run({ positionals: [who = '', text = ''], values }, context) {
    const { print, signal } = context
    const calls = parseCalls(text)
    const writer = await openWriter(values, context)
    const { account, market } = writer
    const user = await readAccountAddress(who, {}, market, context)
    const parties = { provider: account.address, user }
    const before = await readCredits(writer, parties, signal)
    const plan = {
      title: `Give ${user} ${countOf(calls)}`,
      lines: [
        ['user', user],
        ['granted so far', `${before.granted}, of which ${before.used} are used`],
      ],
      facts: { ...parties, calls },
      calls: [escrowCalls(market.contracts.escrow).grantCredits(user, calls)],
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const { granted, used } = await readCredits(writer, parties, signal)
    print(`${user} has ${countOf(granted - used)} left of ${granted}.`, {
      ...plan.facts,
      granted,
      used,
      transactions,
    })
  },
})

const countOf = (calls: number) => `${calls} trial ${calls === 1 ? 'call' : 'calls'}`

function parseCalls(text: string): number {
  const calls = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN
  if (calls >= 1 && calls <= callsMax) return calls
  throw usageError(
    `"${text.slice(0, 40)}" is not a number of calls.`,
    `Use a whole number from 1 to ${callsMax}.`,
  )
}
