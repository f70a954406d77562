import { parseName } from '../../protocol/name.ts'
import { programLimits, type SomeLimits } from '../../protocol/program-limits.ts'
import { limitRows } from '../../protocol/program-limits-table.ts'
import { type CommandContext, defineCommand } from '../command.ts'
import { askProviderInfo } from '../deploy/provider-answers.ts'
import { providerUrl, readGatewayInfo } from '../market/market.ts'
import { openMarket } from '../market/open.ts'
import { type MarketFlags, marketOptions } from '../market/options.ts'

export const limits = defineCommand({
  usage: 'limits',
  details:
    'What a program may use: what it gets where its deployment does not say, and the most that it can get. A deployment sets\n' +
    'those with a star, in "limits" of its khachapuri.json or with flags of "deploy". Breaking a limit ends a call with the\n' +
    'code that stands there, in its answer, its receipt and the log of its owner; or does what is said there instead.',
  options: {
    provider: { type: 'string', value: '<name>', help: 'The most that this provider gives, as well' },
    ...marketOptions,
  },
  examples: ['limits', 'limits --provider alice', 'limits --json'],
  async run({ values }, context) {
    const { provider } = values
    const maxima = provider === undefined ? {} : await readMaxima(provider, values, context)
    const rows = limitRows(maxima)
    const cells = rows.map(({ name, what, default: value, max, providerMax, settable, breach }) => [
      `${name}${settable ? '*' : ''}`,
      value,
      max,
      ...(provider === undefined ? [] : [providerMax]),
      breach,
      what,
    ])
    const head = [
      'limit',
      'default',
      'most',
      ...(provider === undefined ? [] : [`at ${provider}`]),
      'beyond it',
      'of what',
    ]
    context.print(formatColumns([head, ...cells]), {
      limits: Object.entries(programLimits).map(([name, row]) => ({
        name,
        ...row,
        settable: 'min' in row,
        ...(provider !== undefined && { providerMax: atProvider(maxima, name) ?? row.max }),
      })),
    })
  },
})

const atProvider = (maxima: SomeLimits, name: string) =>
  (maxima as Readonly<Record<string, number | undefined>>)[name]

async function readMaxima(text: string, flags: MarketFlags, context: CommandContext): Promise<SomeLimits> {
  const name = parseName(text)
  const { market } = await openMarket(flags, context)
  const { domain } = await readGatewayInfo(market.gateway, context.signal)
  const url = providerUrl(market.gateway, domain, name)
  return (await askProviderInfo({ name, url }, context.signal)).limits
}

function formatColumns(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((cells) => cells[i]!.length)))
  return rows
    .map((cells) =>
      cells
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
