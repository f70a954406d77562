import type { Address } from 'viem'
import { isChainTrouble } from '../../protocol/chain/chain-error.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { type CommandContext, commonOptions, defineCommand } from '../command.ts'
import { readAccountAddress } from '../keys/account.ts'
import { createProviderAccount } from '../market/ask-provider.ts'
import { providerUrl, readGatewayInfo } from '../market/market.ts'
import { openMarket, openWriter } from '../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../market/options.ts'
import { readPinnedNames } from '../market/pins.ts'
import { marketKey, resolveProvider } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import { createDifferences } from '../statement/differences.ts'
import { type AskedProvider, createProviderBooks } from '../statement/provider-books.ts'
import { readStatement } from '../statement/read-statement.ts'
import { createReceiptSource } from '../statement/receipt-source.ts'
import { parseStatementFlags, statementOptions, writeStatement } from '../statement/write-statement.ts'

export const statement = defineCommand({
  usage: 'statement',
  details:
    "All that happened to the account's money in the escrow, from the chain; under each settlement the calls that it paid, from\n" +
    'the receipts that the provider shows to the account (it signs the request; nothing else is signed or sent). Each must\n' +
    'be under the usage root that its provider published with the settlement: it can show no others later. Everything is\n' +
    'added up and compared with the chain, to the last unit: where it differs, the difference is told, and the command ends\n' +
    'with 1. Providers are known by name once a command of yours has met them; name others with --provider.',
  options: {
    ...statementOptions,
    provider: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: 'Only lines with this provider; the sums are compared all the same',
    },
    'chain-only': { type: 'boolean', help: 'Ask no provider for receipts; needs no key' },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
    ...commonOptions,
  },
  examples: [
    'statement',
    'statement --account payer --since 30d --csv > statement.csv',
    'statement --provider alice --json',
  ],
  async run({ values }, context) {
    const when = parseStatementFlags(values, context.clock.nowMs())
    const at = await openMarket(values, context)
    const account = await readAccountAddress(undefined, values, at.market, context)
    const names = new Map(await readPinnedNames(await marketKey(at, context.signal), context.env))
    const chosen = new Set<Address>()
    for (const name of values.provider ?? []) {
      const resolving = { ...at, acceptIdentity: values['accept-identity'] ?? false }
      const { address } = await resolveProvider(name, resolving, context)
      names.set(address, name)
      chosen.add(address)
    }
    const isChosen = (address: Address) => chosen.size === 0 || chosen.has(address)
    const nameOf = (address: Address) => names.get(address) ?? address
    const silent: string[] = []
    const nameless = new Set<Address>()
    const books = values['chain-only']
      ? undefined
      : createProviderBooks(
          at.client,
          {
            payer: account,
            escrow: at.market.contracts.escrow,
            token: at.market.contracts.usdc,
            providers: await openProviders(
              [...names].filter(([address]) => isChosen(address)),
              await openWriter(values, context),
              { acceptIdentity: values['accept-identity'] ?? false },
              context,
            ),
            nameOf(address) {
              if (!names.has(address) && isChosen(address)) nameless.add(address)
              return nameOf(address)
            },
            isAsked: isChosen,
            onSilent(name, { message, code }) {
              silent.push(name)
              context.note(`${name} does not show its books: ${message} (${code})`)
            },
            onUnproven: (name, calls) =>
              context.note(
                `${name} has not shown of ${calls} calls that they are under the usage roots on chain.`,
              ),
          },
          context.signal,
        )
    const differences = createDifferences()
    const scope = {
      account,
      withIncome: false,
      ...when,
      isShown: (party: Address | undefined) =>
        chosen.size === 0 || (party !== undefined && chosen.has(party)),
      nameOf,
    }
    await writeStatement(
      readStatement(at, scope, { books, differences }, context),
      {
        flags: values,
        facts: { account, escrow: at.market.contracts.escrow, chainId: at.market.chainId },
        differences,
        hint: () => {
          if (silent.length > 0)
            return `${silent.join(', ')} did not answer: try again, or leave receipts out with --chain-only.`
          if (nameless.size === 0) return undefined
          return `Nobody here knows the name of ${[...nameless].join(', ')}, so nobody was asked there: add --provider <name>, or --chain-only.`
        },
      },
      context,
    )
  },
})

/** The ways to all providers that have a name; each is asked only where something is to be explained. */
async function openProviders(
  named: readonly (readonly [Address, string])[],
  writer: Writer,
  { acceptIdentity }: { acceptIdentity: boolean },
  context: CommandContext,
): Promise<Map<Address, AskedProvider>> {
  const found = new Map<Address, AskedProvider>()
  if (named.length === 0) return found
  const { domain } = await readGatewayInfo(writer.market.gateway, context.signal)
  for (const [address, name] of named) {
    const now = await resolveProvider(name, { ...writer, acceptIdentity }, context).catch(
      (error: unknown) => {
        if (!isProtocolError(error) || isChainTrouble(error)) throw error
        context.note(`${name} is not asked: ${error.message} (${error.code})`)
        return undefined
      },
    )
    if (now?.address !== address) continue
    const url = providerUrl(writer.market.gateway, domain, name)
    const account = createProviderAccount({ name, address, url }, writer, context)
    const source = createReceiptSource(account, { payer: writer.account.address, provider: address })
    found.set(address, { name, source })
  }
  return found
}
