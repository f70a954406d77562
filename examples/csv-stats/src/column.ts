import { detach } from './detach.ts'
import { createDistinctCounter } from './distinct.ts'
import { createMoments } from './moments.ts'

/** What all values of a column are; `text` where nothing narrower fits, `empty` where there is none. */
export type ColumnType = 'integer' | 'number' | 'boolean' | 'date' | 'text' | 'empty'

export interface ColumnStatistics {
  readonly name: string
  readonly type: ColumnType
  /** Values that are not empty. */
  readonly count: number
  readonly empty: number
  /** By number for numbers, else by code unit of the first hundred characters; null without values. */
  readonly min: number | string | null
  readonly max: number | string | null
  /** Of numbers only. */
  readonly mean: number | null
  /** Of a sample (n − 1), of two numbers or more. */
  readonly standardDeviation: number | null
  readonly distinct: number
  /** Whether `distinct` is the number itself, and not "at least". */
  readonly distinctExact: boolean
}

export interface Column {
  add(value: string): void
  statistics(): ColumnStatistics
}

/** Counts one column in constant memory. Blanks around a value are ignored. */
export function createColumn({ name, distinctMax }: { name: string; distinctMax: number }): Column {
  const moments = createMoments()
  const distinct = createDistinctCounter(distinctMax)
  const couldBe = { integer: true, number: true, boolean: true, date: true }
  let count = 0
  let empty = 0
  let minText: string | undefined
  let maxText: string | undefined

  function add(raw: string): void {
    const value = raw.trim()
    if (value === '') {
      empty += 1
      return
    }
    count += 1
    distinct.add(value)
    narrow(value)
    const text = value.length > textLengthMax ? value.slice(0, textLengthMax) : value
    if (minText === undefined || text < minText) minText = detach(text)
    if (maxText === undefined || text > maxText) maxText = detach(text)
  }

  /** Gives up every type that the value does not have, for good. */
  function narrow(value: string): void {
    if (couldBe.number) {
      const number = parseNumber(value)
      if (number === undefined) couldBe.number = false
      else moments.add(number)
    }
    couldBe.integer &&= couldBe.number && integerPattern.test(value)
    couldBe.boolean &&= booleanPattern.test(value)
    couldBe.date &&= datePattern.test(value)
  }

  function type(): ColumnType {
    if (count === 0) return 'empty'
    return columnTypes.find((candidate) => couldBe[candidate]) ?? 'text'
  }

  function statistics(): ColumnStatistics {
    const numeric = count > 0 && couldBe.number
    const { min, max, mean, standardDeviation } = moments.summary()
    return {
      name,
      type: type(),
      count,
      empty,
      min: numeric ? min : (minText?.toWellFormed() ?? null),
      max: numeric ? max : (maxText?.toWellFormed() ?? null),
      mean: numeric ? mean : null,
      standardDeviation: numeric && count > 1 ? standardDeviation : null,
      ...distinct.result(),
    }
  }

  return { add, statistics }
}

const columnTypes = ['integer', 'number', 'boolean', 'date'] as const
const textLengthMax = 100

// Digits after a leading zero are a code (a postcode, a phone number), not a quantity.
const numberPattern = /^[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/
const integerPattern = /^[+-]?\d+$/
const booleanPattern = /^(?:true|false)$/i
/** ISO 8601 without offsets, which sort as text. */
const datePattern =
  /^\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])(?:[T ](?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?Z?)?$/

function parseNumber(value: string): number | undefined {
  if (!numberPattern.test(value)) return undefined
  const number = Number(value)
  return Number.isFinite(number) ? number : undefined
}
