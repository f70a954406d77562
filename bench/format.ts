import type { Report, Table } from './measurement.ts'

/** A report as Markdown that people can read as plain text, too. */
export function formatReport(title: string, { tables, remarks }: Report): string {
  return [`### ${title}`, ...tables.map(formatTable), ...remarks].join('\n\n')
}

function formatTable({ caption, columns, rows }: Table): string {
  const cells = [columns, ...rows].map((row) => columns.map((_, index) => formatCell(row[index])))
  const widths = columns.map((_, index) => Math.max(3, ...cells.map((row) => row[index]?.length ?? 0)))
  const [head = [], ...body] = cells.map((row) => formatRow(row, widths))
  const rule = `|${widths.map((width, index) => (index === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [...(caption === '' ? [] : [`**${caption}**`, '']), head, rule, ...body].join('\n')
}

/** The first column is a name, the others are numbers. */
function formatRow(row: readonly string[], widths: readonly number[]): string {
  const padded = row.map((cell, index) =>
    index === 0 ? cell.padEnd(widths[index] ?? 0) : cell.padStart(widths[index] ?? 0),
  )
  return `| ${padded.join(' | ')} |`
}

/** Three digits that mean something; whole numbers above that. */
function formatCell(value: string | number | undefined): string {
  if (value === undefined) return ''
  if (typeof value === 'string') return value
  if (!Number.isFinite(value)) return '?'
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-GB').replaceAll(',', ' ')
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2)
}
