import { type Column, type ColumnStatistics, createColumn } from './column.ts'
import { CsvError } from './csv-parser.ts'

export interface TableStatistics {
  /** Records after the header. */
  readonly rows: number
  readonly columns: readonly ColumnStatistics[]
}

export interface Table {
  /** The first record names the columns. @throws CsvError for a record with another number of fields. */
  addRecord(fields: readonly string[], line: number): void
  /** Undefined when there was not even a header. */
  statistics(): TableStatistics | undefined
}

/** Counts all columns; what it holds is bounded by their number, not by that of the rows. */
export function createTable(): Table {
  let columns: readonly Column[] | undefined
  let rows = 0

  return {
    addRecord(fields, line) {
      if (columns === undefined) {
        columns = createColumns(fields)
        return
      }
      if (isBlank(fields) && columns.length > 1) return
      if (fields.length !== columns.length) {
        throw new CsvError(`The header has ${columns.length} fields, this record ${fields.length}.`, line)
      }
      rows += 1
      for (const [index, column] of columns.entries()) column.add(fields[index] ?? '')
    },
    statistics: () => columns && { rows, columns: columns.map((column) => column.statistics()) },
  }
}

const distinctPerColumnMax = 1_000
const distinctPerTableMax = 50_000

function createColumns(names: readonly string[]): Column[] {
  const distinctMax = Math.min(distinctPerColumnMax, Math.floor(distinctPerTableMax / names.length))
  return names.map((name) => createColumn({ name: name.trim(), distinctMax }))
}

/** An empty line, which many tools leave at the end. In a table of one column it is an empty value. */
function isBlank(fields: readonly string[]): boolean {
  return fields.length === 1 && fields[0] === ''
}
