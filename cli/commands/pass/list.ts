import type { Hex } from 'viem'
import { isProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import { type PassSpending, statementPageSchemas, statementPaths } from '../../../protocol/statement.ts'
import { formatUsdc } from '../../../protocol/usdc.ts'
import { type CommandContext, defineCommand } from '../../command.ts'
import { readAccountAddress } from '../../keys/account.ts'
import { createProviderAccount, type ProviderAccount } from '../../market/ask-provider.ts'
import { formatTime } from '../../market/escrow.ts'
import { providerUrl, readGatewayInfo } from '../../market/market.ts'
import { openMarket, openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, pinOptions } from '../../market/options.ts'
import { marketKey, resolveProvider } from '../../market/resolve-provider.ts'
import { type PassRecord, readPassRecords } from '../../passes/pass-records.ts'
import { readPages } from '../../statement/pages.ts'

/** One pass at one provider. */
interface Row {
  readonly id: Hex
  readonly provider: string
  readonly state: 'valid' | 'ended' | 'revoked'
  /** Null where the provider was not asked, or did not answer. */
  readonly spentUsdc: bigint | null
  readonly record: PassRecord | undefined
  readonly validBefore: number
}

export const passList = defineCommand({
  usage: 'pass list',
  details:
    'The passes of the account, with what was spent of each: what was made here stays in passes.json, without the tokens, and\n' +
    'the providers are asked, by a request that the account signs, for what they know, so that passes made elsewhere show, too.',
  options: {
    provider: {
      type: 'string',
      multiple: true,
      value: '<name>',
      help: 'Ask this provider, too (default: those of passes made here)',
    },
    offline: { type: 'boolean', help: 'Show what was made here, and ask nobody; needs no key' },
    ...accountOptions,
    ...marketOptions,
    ...pinOptions,
  },
  examples: ['pass list', 'pass list --account payer --provider alice --json'],
  async run({ values }, context) {
    const at = await openMarket(values, context)
    const key = await marketKey(at, context.signal)
    const payer = await readAccountAddress(undefined, values, at.market, context)
    const records = (await readPassRecords(key, context)).filter((record) => record.payer === payer)
    const names = new Set([
      ...(values.provider ?? []),
      ...records.flatMap(({ providers }) => providers.map(({ name }) => name)),
    ])
    const known = values.offline ? new Map() : await askAll([...names], values, context)
    const rows = listRows({ records, known, nowSeconds: Math.floor(context.clock.nowMs() / 1000) })
    context.print(formatRows(rows), {
      payer,
      passes: rows.map(({ record, ...row }) => ({
        ...row,
        maxSpendUsdc: record?.maxSpend ?? null,
        maxPriceUsdc: record?.maxPricePerCall ?? null,
        deployment: record?.deployment ?? null,
        isMadeHere: record !== undefined,
      })),
    })
  },
})

type Flags = Parameters<typeof openWriter>[0] & { readonly 'accept-identity'?: boolean | undefined }

/** @returns what each provider knows; one that does not answer is missing, and a note says why. */
async function askAll(
  names: readonly string[],
  flags: Flags,
  context: CommandContext,
): Promise<Map<string, readonly PassSpending[]>> {
  const known = new Map<string, readonly PassSpending[]>()
  if (names.length === 0) return known
  const writer = await openWriter(flags, context)
  const { domain } = await readGatewayInfo(writer.market.gateway, context.signal)
  for (const name of names) {
    try {
      const resolving = { ...writer, acceptIdentity: flags['accept-identity'] ?? false }
      const { address } = await resolveProvider(name, resolving, context)
      const place = { name, address, url: providerUrl(writer.market.gateway, domain, name) }
      known.set(name, await readPasses(createProviderAccount(place, writer, context)))
    } catch (error) {
      if (!isProtocolError(error)) throw error
      // Nothing was spent where nothing was ever paid.
      if (error.code === 'not_found') known.set(name, [])
      else context.note(`${name} was not asked: ${error.message} (${error.code})`)
    }
  }
  return known
}

async function readPasses(account: ProviderAccount): Promise<PassSpending[]> {
  const passes: PassSpending[] = []
  const pages = readPages<PassSpending>(
    async (last) =>
      (await account.read(statementPaths.passes, last ? { after: last.id } : {}, statementPageSchemas.passes))
        .entries,
    { entriesMax: limits.statementEntriesKeptMax },
  )
  for await (const pass of pages) passes.push(pass)
  return passes
}

function listRows({
  records,
  known,
  nowSeconds,
}: {
  records: readonly PassRecord[]
  known: ReadonlyMap<string, readonly PassSpending[]>
  nowSeconds: number
}): Row[] {
  const rows = records.flatMap((record) =>
    record.providers.map(({ name, revokedAt }): Row => {
      const spending = known.get(name)?.find(({ id }) => id === record.id)
      const isRevoked = revokedAt !== null || spending?.isRevoked === true
      return {
        id: record.id,
        provider: name,
        state: stateOf({ isRevoked, validBefore: record.validBefore, nowSeconds }),
        spentUsdc: spending?.spentUsdc ?? (known.has(name) && record.validBefore > nowSeconds ? 0n : null),
        record,
        validBefore: record.validBefore,
      }
    }),
  )
  const isListed = new Set(rows.map(({ id, provider }) => id + provider))
  for (const [provider, passes] of known) {
    for (const { id, spentUsdc, validBefore, isRevoked } of passes) {
      if (isListed.has(id + provider)) continue
      const state = stateOf({ isRevoked, validBefore, nowSeconds })
      rows.push({ id, provider, state, spentUsdc, record: undefined, validBefore })
    }
  }
  return rows
}

const stateOf = ({
  isRevoked,
  validBefore,
  nowSeconds,
}: {
  isRevoked: boolean
  validBefore: number
  nowSeconds: number
}): Row['state'] => {
  if (isRevoked) return 'revoked'
  return validBefore <= nowSeconds ? 'ended' : 'valid'
}

function formatRows(rows: readonly Row[]): string {
  if (rows.length === 0) {
    return 'There are no passes. Make one: khachapuri pass create --provider <name> --max-price <usdc> --max-spend <usdc>'
  }
  const cells = rows.map(({ id, provider, state, spentUsdc, record, validBefore }) => [
    id.slice(0, 12),
    provider,
    state,
    spentUsdc === null ? '?' : formatUsdc(spentUsdc as never),
    record ? formatUsdc(record.maxSpend) : '?',
    formatTime(validBefore),
  ])
  const table = [['pass', 'provider', 'state', 'spent', 'of', 'until'], ...cells]
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  return table.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')).join('\n')
}
