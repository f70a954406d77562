import type { Credits } from '../../../protocol/credits.ts'
import { defineCommand } from '../../command.ts'
import { parseCount } from '../../duration.ts'
import { readAccountAddress } from '../../keys/account.ts'
import { listCredits } from '../../market/credits.ts'
import { openMarket } from '../../market/open.ts'
import { accountOptions, marketOptions } from '../../market/options.ts'

export const creditsList = defineCommand({
  usage: 'credits list [account]',
  details:
    'The trial calls that an account gave away as a provider, and those that it was given as a user. [account] is an\n' +
    'address or a name in the keystore; by default it is the account that would sign. "used" is what the chain has\n' +
    'counted: a provider counts there together with its settlements, so the last calls may be missing.',
  options: {
    'from-block': {
      type: 'string',
      value: '<n>',
      default: '0',
      help: 'Where to begin to read: the block of the escrow',
    },
    ...accountOptions,
    ...marketOptions,
  },
  examples: ['credits list', 'credits list --account alice --json'],
  async run({ positionals: [named], values }, context) {
    const fromBlock = BigInt(
      parseCount('from-block', values['from-block'], { min: 0, max: Number.MAX_SAFE_INTEGER }),
    )
    const at = await openMarket(values, context)
    const account = await readAccountAddress(named, values, at.market, context)
    const range = { fromBlock, signal: context.signal }
    const given = await listCredits(at, { provider: account }, range)
    const received = await listCredits(at, { user: account }, range)
    const text = [
      ...formatTable('Given to', given, ({ user }) => user),
      ...formatTable('Given by', received, ({ provider }) => provider),
    ].join('\n')
    context.print(text || `${account} has given and received no trial calls.`, { account, given, received })
  },
})

function formatTable(
  title: string,
  credits: readonly Credits[],
  nameOf: (credits: Credits) => string,
): string[] {
  if (credits.length === 0) return []
  const head = `${title.padEnd(42)}  ${'granted'.padStart(10)}  ${'used'.padStart(10)}`
  const rows = credits.map(
    (entry) => `${nameOf(entry)}  ${String(entry.granted).padStart(10)}  ${String(entry.used).padStart(10)}`,
  )
  return [head, ...rows]
}
