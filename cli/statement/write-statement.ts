import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatUsdc, type Usdc } from '../../protocol/usdc.ts'
import { type CommandContext, type Options, usageError } from '../command.ts'
import { parseCount, parseDuration } from '../duration.ts'
import { type Facts, formatFacts } from '../terminal.ts'
import type { Differences } from './differences.ts'
import type { StatementSums } from './read-statement.ts'
import { csvHeader, formatCsvLine, formatTextLine, type StatementLine } from './statement-line.ts'

export const statementOptions = {
  csv: { type: 'boolean', help: 'Comma-separated lines, for a spreadsheet; sums go to standard error' },
  since: {
    type: 'string',
    value: '<time>',
    help: 'Only what came after: a day as 2026-01-31, a time in ISO 8601, or 30d for the last thirty days',
  },
  'from-block': {
    type: 'string',
    value: '<n>',
    default: '0',
    help: "Where to begin to read the chain: the block of the escrow's deployment, or a later one before the first deposit",
  },
} as const satisfies Options

export interface StatementFlags {
  readonly csv?: boolean | undefined
  readonly json?: boolean | undefined
  readonly since?: string | undefined
  readonly 'from-block': string
}

/** @throws ProtocolError `usage_invalid` */
export function parseStatementFlags(
  { csv, json, since, 'from-block': fromBlock }: StatementFlags,
  nowMs: number,
): { readonly sinceSeconds: number | undefined; readonly fromBlock: bigint } {
  if (csv && json) throw usageError('--csv and --json exclude each other.', 'Use one.')
  return {
    sinceSeconds: since === undefined ? undefined : parseSince(since, Math.floor(nowMs / 1000)),
    fromBlock: BigInt(parseCount('from-block', fromBlock, { min: 0, max: Number.MAX_SAFE_INTEGER })),
  }
}

function parseSince(text: string, nowSeconds: number): number {
  if (/^\d{1,10}[smhd]$/.test(text)) return nowSeconds - parseDuration('since', text)
  const ms = /^\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d))?$/.test(text) ? Date.parse(text) : Number.NaN
  if (!Number.isNaN(ms)) return Math.floor(ms / 1000)
  throw usageError(
    `"${text.slice(0, 40)}" is not a time for --since.`,
    'Write it as in 2026-01-31 (UTC), 2026-01-31T12:00:00Z, or 30d.',
  )
}

/**
 * Writes a statement as it comes, so that no length of it needs more memory; as JSON once it is known to add up.
 *
 * @throws ProtocolError `statement_differs`, after all lines
 */
export async function writeStatement(
  lines: AsyncGenerator<StatementLine, StatementSums>,
  {
    flags,
    facts,
    differences,
    hint,
  }: {
    flags: StatementFlags
    facts: Facts
    differences: Differences
    hint: () => string | undefined
  },
  context: CommandContext,
): Promise<void> {
  if (flags.json) return writeJson(lines, { facts, differences, hint }, context)
  const format = flags.csv ? formatCsvLine : formatTextLine
  if (flags.csv) await writeText(csvHeader, context)
  const sums = await drain(lines, (line) => writeText(format(line), context))
  const summary = formatSums(sums, differences)
  if (flags.csv) context.note(summary)
  else await writeText(`${summary}\n`, context)
  differences.assertNone(hint())
}

const writeText = (text: string, { writeBytes }: CommandContext) => writeBytes(Buffer.from(text))

async function drain(
  lines: AsyncGenerator<StatementLine, StatementSums>,
  write: (line: StatementLine) => Promise<unknown>,
): Promise<StatementSums> {
  for (;;) {
    const { done, value } = await lines.next()
    if (done) return value
    await write(value)
  }
}

/** One object holds all lines, and is an answer only if they add up: until then they wait in a file. */
async function writeJson(
  lines: AsyncGenerator<StatementLine, StatementSums>,
  { facts, differences, hint }: { facts: Facts; differences: Differences; hint: () => string | undefined },
  context: CommandContext,
): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-statement-'))
  try {
    await using file = await open(join(dir, 'lines'), 'wx+', 0o600)
    let separator = ''
    const sums = await drain(lines, async (line) => {
      await file.write(separator + formatFacts(line))
      separator = ','
    })
    differences.assertNone(hint())
    const head = formatFacts({ ...facts, ...sums, isSameOnChain: true })
    await writeText(`${head.slice(0, -1)},"lines":[`, context)
    for await (const chunk of file.createReadStream({ start: 0, autoClose: false }))
      await context.writeBytes(chunk as Buffer)
    await writeText(']}\n', context)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

function formatSums(sums: StatementSums, { count }: Differences): string {
  const show = (amount: bigint) => `${formatUsdc(amount as Usdc)} USDC`
  const rows = [
    ['deposited', sums.depositedUsdc],
    ['withdrawn', sums.withdrawnUsdc],
    ['spent', sums.spentUsdc],
    ['earned', sums.earnedUsdc],
    ['paid by x402', sums.x402Usdc],
    ['not settled yet', sums.unsettledUsdc],
  ] as const
  const shown = rows.filter(([, amount]) => amount !== 0n)
  const verdict =
    count === 0
      ? `All of it is what the chain says at block ${sums.blockNumber}, to the last unit.`
      : `It is not what the chain says at block ${sums.blockNumber}.`
  return [
    `Sums, over ${sums.calls} calls:`,
    ...shown.map(([name, amount]) => `  ${name.padEnd(15)}  ${show(amount)}`),
    `  ${'free now'.padEnd(15)}  ${show(sums.freeUsdc)}`,
    `  ${'reserved now'.padEnd(15)}  ${show(sums.reservedUsdc)}`,
    verdict,
  ].join('\n')
}
