import { CsvError, createCsvParser } from './csv-parser.ts'
import { createTable, type TableStatistics } from './table.ts'

/** `POST` a CSV file, get statistics of its columns. The file is read as it comes and never held. */
export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url)
    if (pathname !== '/') return refuse(404, { error: `There is nothing at ${pathname}.`, hint: usage })
    switch (request.method) {
      case 'GET':
      case 'HEAD':
        return new Response(`${usage}\n`, { headers: { 'content-type': 'text/plain; charset=utf-8' } })
      case 'POST':
        return describe(request, searchParams.get('delimiter') ?? 'comma')
      default:
        return refuse(405, { error: `${request.method} is not possible here.`, hint: usage }, { allow })
    }
  },
}

const allow = 'GET, HEAD, POST'
const usage =
  'POST a CSV file in UTF-8 with a header: curl --data-binary @sample.csv <this address>[?delimiter=semicolon]'

const delimiters: Readonly<Record<string, string>> = { comma: ',', semicolon: ';', tab: '\t', pipe: '|' }
const bounds = { fieldLengthMax: 65_536, fieldsMax: 256 }

/** What is wrong with a request, in words for its sender. */
interface Refusal {
  readonly error: string
  readonly field?: string
  /** Of the file, from 1. */
  readonly line?: number
  readonly hint: string
}

async function describe(request: Request, delimiterName: string): Promise<Response> {
  const delimiter = Object.hasOwn(delimiters, delimiterName) ? delimiters[delimiterName] : undefined
  if (delimiter === undefined) {
    const hint = `Choose one of: ${Object.keys(delimiters).join(', ')}.`
    return refuse(400, { error: '"delimiter" is not one that is known.', field: 'delimiter', hint })
  }
  if (request.headers.get('content-type')?.startsWith('multipart/')) {
    return refuse(415, { error: 'The body is a form, not a CSV file.', hint: usage })
  }
  try {
    const statistics = await readStatistics(request.body, delimiter)
    if (statistics === undefined) return refuse(400, { error: 'The file is empty.', hint: usage })
    return new Response(`${JSON.stringify(statistics, undefined, 2)}\n`, {
      headers: { 'content-type': 'application/json; charset=utf-8' },
    })
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    return refuse(400, { error: error.message, line: error.line, hint: error.hint })
  }
}

/** Reads one chunk at a time, so that a fast sender waits for us. @throws CsvError */
async function readStatistics(
  body: Request['body'],
  delimiter: string,
): Promise<TableStatistics | undefined> {
  const table = createTable()
  let line = 1
  const parser = createCsvParser({
    delimiter,
    ...bounds,
    onRecord: (fields, recordLine) => {
      line = recordLine
      table.addRecord(fields, recordLine)
    },
  })
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const decode = (bytes?: Uint8Array) => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode()
    } catch {
      const hint = 'Convert it, for instance with iconv -f latin1 -t utf-8.'
      throw new CsvError('The file is not UTF-8, on this line or after it.', line, hint)
    }
  }

  const reader = body?.getReader()
  try {
    for (let part = await reader?.read(); part?.value !== undefined; part = await reader?.read()) {
      parser.write(decode(part.value))
    }
  } catch (error) {
    // There is no use for the rest; the sender need not send it.
    await reader?.cancel(error)
    throw error
  }
  parser.write(decode())
  parser.end()
  return table.statistics()
}

function refuse(status: number, refusal: Refusal, headers: Record<string, string> = {}): Response {
  return Response.json(refusal, { status, headers })
}
