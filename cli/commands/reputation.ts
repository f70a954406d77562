import { createLog } from '../../protocol/base/log.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { readReputationFacts } from '../../protocol/chain/reputation-facts.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName, requireProvider } from '../../protocol/name.ts'
import { computeReputation, reputationFormula } from '../../protocol/reputation.ts'
import { formatUsdc, usdc } from '../../protocol/usdc.ts'
import { defineCommand, usageError } from '../command.ts'
import { parseCount } from '../duration.ts'
import { openMarket } from '../market/open.ts'
import { marketOptions } from '../market/options.ts'

export const reputation = defineCommand({
  usage: 'reputation <name>',
  details:
    'Adds up from the chain alone what others paid a provider, until one block: whoever asks for the same block gets the same\n' +
    'bytes. What the provider or the owner of its name paid themselves, or gave others to pay with, does not count:\n' +
    'docs/reputation.md has the formula. Providers and gateways are not asked.',
  options: {
    block: { type: 'string', value: '<n>', help: 'The last block that counts (default: the newest one)' },
    'from-block': {
      type: 'string',
      value: '<n>',
      default: '0',
      help: 'Where to begin to read: any block before the first grant gives the same',
    },
    ...marketOptions,
  },
  examples: ['reputation alice', 'reputation alice --block 1200 --json'],
  async run({ positionals: [text = ''], values }, context) {
    const { market, client } = await openMarket(values, context)
    const { clock, signal } = context
    const { escrow, registry, usdc: token } = market.contracts
    const newest = await reachChain(client.getBlockNumber({ cacheTime: 0 }), 'read the newest block', signal)
    const toBlock = values.block === undefined ? newest : parseBlock('block', values.block)
    if (toBlock > newest) {
      throw usageError(`The chain has no block ${toBlock} yet.`, `Its newest one is ${newest}.`)
    }
    const fromBlock = parseBlock('from-block', values['from-block'])
    const name = parseName(text)
    const reader = createNameReader({ client, clock, log: createLog({ level: 'silent' }) }, { registry })
    const { address, owner } = requireProvider(await reader.readName(name, signal, toBlock), name)
    const block = await reachChain(client.getBlock({ blockNumber: toBlock }), 'read the block', signal)
    const hasMany = toBlock - fromBlock >= BigInt(limits.logRangeBlocksMax)
    const facts = await readReputationFacts(
      client,
      { escrow, token, provider: address, owner, fromBlock, toBlock },
      (read) => hasMany && context.note(`Read until block ${read} of ${toBlock}.`),
      signal,
    )
    const { calls, payers, effectivePayersMilli, spent, counted, weight, excluded, ratings } =
      computeReputation(facts)
    const amount = (units: bigint) => `${formatUsdc(usdc(units))} USDC`
    const mean = ratings.meanMilli === null ? 'none' : `${thousandths(ratings.meanMilli)} of 100`
    context.print(
      [
        `${name} at block ${toBlock}`,
        `  account   ${address}`,
        `  calls     ${calls}, paid with ${amount(counted)}`,
        `  payers    ${payers}, as many as ${thousandths(effectivePayersMilli)} of equal size`,
        `  ratings   ${mean}${ratings.count > 0 ? `, by ${ratings.count} who paid` : ''}`,
        `  weight    ${weight}`,
        `  left out  ${amount(spent - counted)}, and ${excluded.payers} payers: its own, or its owner's, or given by them`,
      ].join('\n'),
      {
        formula: reputationFormula,
        ...{ name, address, owner, chainId: market.chainId, escrow, registry },
        block: { number: Number(toBlock), hash: block.hash },
        ...{ calls, payers, effectivePayersMilli: Number(effectivePayersMilli) },
        ...{ spentUsdc: spent.toString(), countedUsdc: counted.toString(), weight: weight.toString() },
        excluded: { payers: excluded.payers, spentUsdc: excluded.spent.toString() },
        ratings: {
          count: ratings.count,
          meanMilli: ratings.meanMilli === null ? null : Number(ratings.meanMilli),
        },
      },
    )
  },
})

const parseBlock = (flag: string, text: string) =>
  BigInt(parseCount(flag, text, { min: 0, max: Number.MAX_SAFE_INTEGER }))

/** Without rounding: three digits behind the point, or none. */
function thousandths(milli: bigint): string {
  const rest = (milli % 1000n).toString().padStart(3, '0').replace(/0+$/, '')
  return `${milli / 1000n}${rest === '' ? '' : `.${rest}`}`
}
