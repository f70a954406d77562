/** Takes a CSV file in pieces, cut anywhere. */
export interface CsvParser {
  /** @throws CsvError */
  write(text: string): void
  /** The file is whole. @throws CsvError for a quote that was never closed. */
  end(): void
}

export interface CsvParserOptions {
  /** One character; RFC 4180 has a comma. */
  readonly delimiter: string
  /** Characters in one field. */
  readonly fieldLengthMax: number
  /** Fields in one record. */
  readonly fieldsMax: number
  /** Hears each record, with the line that it begins on, from 1. */
  readonly onRecord: (fields: readonly string[], line: number) => void
}

/** A file that is not CSV, and where. */
export class CsvError extends Error {
  readonly line: number
  readonly hint: string
  constructor(message: string, line: number, hint: string = quoting) {
    super(message)
    this.line = line
    this.hint = hint
  }
}

const quoting = 'Fields with quotes, delimiters or line breaks stand in quotes; quotes in them are doubled.'

type State = 'field start' | 'unquoted' | 'quoted' | 'after quote'

/**
 * Reads CSV by RFC 4180: fields in quotes may hold delimiters, line breaks and doubled quotes; blanks belong to the
 * field. Beyond the RFC it takes LF or CR alone as the end of a record, since that is what most tools write. A quote
 * anywhere else is refused, because every guess about it would be wrong for somebody.
 *
 * It holds one record at a time, whatever the size of the file.
 */
export function createCsvParser({
  delimiter,
  fieldLengthMax,
  fieldsMax,
  onRecord,
}: CsvParserOptions): CsvParser {
  const delimiterCode = delimiter.charCodeAt(0)
  let state: State = 'field start'
  let fields: string[] = []
  let field = ''
  let line = 1
  let recordLine = 1
  let endedByCr = false

  function write(text: string): void {
    let at = 0
    while (at < text.length) {
      if (endedByCr) {
        endedByCr = false
        if (text.charCodeAt(at) === lf) at += 1
      } else if (state === 'unquoted') at = readUnquoted(text, at)
      else if (state === 'quoted') at = readQuoted(text, at)
      else if (state === 'after quote') at = readAfterQuote(text, at)
      else if (text.charCodeAt(at) === quote) {
        state = 'quoted'
        at += 1
      } else state = 'unquoted'
    }
  }

  function readUnquoted(text: string, from: number): number {
    let at = from
    for (; at < text.length; at += 1) {
      const code = text.charCodeAt(at)
      if (code === delimiterCode || code === lf || code === cr) break
      if (code === quote) throw new CsvError('A quote stands inside a field that has none around it.', line)
    }
    append(text.slice(from, at))
    return at < text.length ? readSeparator(text, at) : at
  }

  function readQuoted(text: string, from: number): number {
    const found = text.indexOf('"', from)
    const at = found < 0 ? text.length : found
    append(text.slice(from, at))
    for (let lineEnd = text.indexOf('\n', from); lineEnd >= 0 && lineEnd < at; line += 1) {
      lineEnd = text.indexOf('\n', lineEnd + 1)
    }
    if (found < 0) return at
    state = 'after quote'
    return at + 1
  }

  function readAfterQuote(text: string, at: number): number {
    const code = text.charCodeAt(at)
    if (code === quote) {
      append('"')
      state = 'quoted'
      return at + 1
    }
    if (code === delimiterCode || code === lf || code === cr) return readSeparator(text, at)
    throw new CsvError('Text follows the quote that closes a field.', line)
  }

  function readSeparator(text: string, at: number): number {
    endField()
    const code = text.charCodeAt(at)
    if (code !== delimiterCode) {
      endedByCr = code === cr
      line += 1
      endRecord()
    }
    return at + 1
  }

  function append(part: string): void {
    if (field.length + part.length > fieldLengthMax) {
      throw new CsvError(`A field has more than ${fieldLengthMax} characters.`, recordLine)
    }
    field = field === '' ? part : field + part
  }

  function endField(): void {
    if (fields.length === fieldsMax)
      throw new CsvError(`A record has more than ${fieldsMax} fields.`, recordLine)
    fields.push(field)
    field = ''
    state = 'field start'
  }

  function endRecord(): void {
    const record = fields
    const startLine = recordLine
    fields = []
    recordLine = line
    onRecord(record, startLine)
  }

  function end(): void {
    if (state === 'quoted') throw new CsvError('A quote is opened and never closed.', recordLine)
    if (state === 'field start' && fields.length === 0) return
    endField()
    endRecord()
  }

  return { write, end }
}

const quote = 0x22
const lf = 0x0a
const cr = 0x0d
