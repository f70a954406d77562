import { getAddress, type Hex } from 'viem'
import { createLog } from '../../protocol/base/log.ts'
import { reachChain } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { readReputationFacts } from '../../protocol/chain/reputation-facts.ts'
import { readUsageRoots } from '../../protocol/chain/usage-roots.ts'
import { limits } from '../../protocol/limits.ts'
import { parseName, requireProvider } from '../../protocol/name.ts'
import { computeReputation, countPayers, reputationFormula } from '../../protocol/reputation.ts'
import { defineCommand, usageError } from '../command.ts'
import { parseCount } from '../duration.ts'
import { openMarket } from '../market/open.ts'
import { marketOptions } from '../market/options.ts'
import { digestInputs, judgeEvidence } from '../reputation/judge-evidence.ts'
import { noEvidence, readEvidence } from '../reputation/read-evidence.ts'
import { formatPaid, formatServed, paidToJson, servedToJson } from '../reputation/show.ts'

export const reputation = defineCommand({
  usage: 'reputation <name>',
  details:
    'Adds up from the chain what others paid a provider, until one block, and from receipts how it served them. What the provider or the\n' +
    'owner of its name paid themselves, or gave others to pay with, does not count: docs/reputation.md has the formula. Receipts come\n' +
    'from a directory: what "receipts" and "curl -D" wrote, and fraud reports. Each must be signed by the provider, or stand under a usage\n' +
    'root that it published; what is neither, or comes twice, is left out and counted. Whoever names the same block and has the same receipts\n' +
    'gets the same bytes, and "inputs.digest" tells. Providers and gateways are not asked.',
  options: {
    block: { type: 'string', value: '<n>', help: 'The last block that counts (default: the newest one)' },
    'from-block': {
      type: 'string',
      value: '<n>',
      default: '0',
      help: 'Where to begin to read: any block before the first grant gives the same',
    },
    receipts: { type: 'string', value: '<dir>', help: 'Receipts and fraud reports to count' },
    replay: {
      type: 'boolean',
      help: 'Run the calls of fraud reports again on this machine; the programs come from the keeper',
    },
    keeper: {
      type: 'string',
      value: '<url>',
      help: "Where programs are fetched (default: the gateway's keeper)",
    },
    ...marketOptions,
  },
  examples: [
    'reputation alice',
    'reputation alice --block 1200 --json',
    'reputation alice --receipts receipts/ --replay',
  ],
  async run({ positionals: [text = ''], values }, context) {
    const { receipts: dir, replay = false } = values
    if (replay && dir === undefined)
      throw usageError('There is nothing to run again.', 'Name the directory of the reports with --receipts.')
    const { market: place, client } = await openMarket(values, context)
    const { clock, signal } = context
    const { escrow, registry, usdc: token } = place.contracts
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
    const payers = countPayers(facts)
    const computed = computeReputation(facts, payers)
    const market = { chainId: place.chainId, escrow: getAddress(escrow) }
    const evidence = dir === undefined ? noEvidence : await readEvidence(dir, context)
    const hasProofs = evidence.receipts.some(({ proof }) => proof)
    const roots = hasProofs
      ? await readUsageRoots(client, { escrow, provider: address, fromBlock, toBlock }, signal)
      : new Set<Hex>()
    const judging = replay ? { ...place, keeper: values.keeper } : undefined
    const judged = await judgeEvidence(
      evidence,
      { provider: address, market, roots, payers, judging },
      context,
    )
    const digest = digestInputs({ ...market, registry, owner, provider: address, block: block.hash }, judged)
    const places = { name, address, owner, chainId: place.chainId, escrow, registry }
    context.print(
      [
        `${name} at block ${toBlock}`,
        `  account   ${address}`,
        ...formatPaid(computed),
        ...(dir === undefined ? [] : formatServed(judged)),
      ].join('\n'),
      {
        formula: reputationFormula,
        ...places,
        block: { number: Number(toBlock), hash: block.hash },
        inputs: { digest, receipts: judged.receipts.length, reports: judged.disputes.reports },
        ...paidToJson(computed),
        ...servedToJson(judged),
      },
    )
  },
})

const parseBlock = (flag: string, text: string) =>
  BigInt(parseCount(flag, text, { min: 0, max: Number.MAX_SAFE_INTEGER }))
