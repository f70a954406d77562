import { KiB, MiB } from './base/bytes.ts'
import {
  type ProgramLimit,
  type ProgramLimitName,
  programLimitNames,
  programLimits,
  type SomeLimits,
} from './program-limits.ts'

/** A row of the table, as people read it. */
export interface LimitRow {
  readonly name: ProgramLimitName
  readonly what: string
  readonly default: string
  /** Of all providers. */
  readonly max: string
  /** Of the provider that was asked; the same where it says nothing. */
  readonly providerMax: string
  readonly settable: boolean
  readonly enforcedBy: ProgramLimit['enforcedBy']
  readonly breach: string
}

/** The table of limits in its order. @param maxima - What a provider gives at most. */
export function limitRows(maxima: SomeLimits = {}): readonly LimitRow[] {
  return programLimitNames.map((name) => {
    const row: ProgramLimit = programLimits[name]
    const { what, unit, max, enforcedBy, breach } = row
    const providerMax = (maxima as Readonly<Record<string, number | undefined>>)[name] ?? max
    return {
      name,
      what,
      default: typeof row.default === 'string' ? `as ${row.default}` : formatAmount(row.default, unit),
      max: formatAmount(max, unit),
      providerMax: formatAmount(Math.min(providerMax, max), unit),
      settable: row.min !== undefined,
      enforcedBy,
      breach: 'code' in breach ? breach.code : breach.effect,
    }
  })
}

/** The table as it stands in the README. */
export function formatLimitsMarkdown(): string {
  const rows = limitRows().map(({ name, what, default: value, max, settable, enforcedBy, breach }) => [
    settable ? `**\`${name}\`**` : `\`${name}\``,
    what,
    value,
    max,
    enforcedBy,
    breach.includes(' ') ? breach : `\`${breach}\``,
  ])
  const head = ['limit', 'of what', 'default', 'most', 'held by', 'beyond it']
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Bytes in the largest unit that divides them. */
function formatAmount(amount: number, unit: ProgramLimit['unit']): string {
  if (unit === '% of a core') return `${amount} % of a core`
  if (unit !== 'bytes' || amount === 0) return `${amount.toLocaleString('en-US')} ${unit}`
  if (amount % MiB === 0) return `${amount / MiB} MiB`
  return amount % KiB === 0 ? `${amount / KiB} KiB` : `${amount.toLocaleString('en-US')} bytes`
}
