import { resolve } from 'node:path'
import { limits } from '../../protocol/limits.ts'
import { type CommandContext, type Options, usageError } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { parseHttpUrl } from '../market/market.ts'

/** A request as curl's flags say it. */
export interface CallRequest {
  readonly url: URL
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | undefined
}

/** Flags that mean what they mean to curl. */
export const requestOptions = {
  request: {
    type: 'string',
    short: 'X',
    value: '<method>',
    help: 'The method (default GET, with data POST)',
  },
  header: {
    type: 'string',
    short: 'H',
    multiple: true,
    value: '<line>',
    help: 'A header, as "Name: value"',
  },
} as const satisfies Options

export interface RequestFlags {
  readonly request?: string | undefined
  readonly header?: readonly string[] | undefined
  readonly data?: string | undefined
}

/** Reads curl's flags; the file of `-d @file` too. @throws ProtocolError `usage_invalid` */
export async function parseRequest(
  urlText: string,
  { request, header = [], data }: RequestFlags,
  context: CommandContext,
): Promise<CallRequest> {
  const method = request ?? (data === undefined ? 'GET' : 'POST')
  if (!/^[A-Z]{1,20}$/.test(method))
    throw usageError(`"${method.slice(0, 40)}" is not a method.`, 'As in -X POST.')
  const headers = Object.fromEntries(header.map(parseHeader))
  if (data !== undefined && !Object.keys(headers).some((name) => name.toLowerCase() === 'content-type'))
    headers['content-type'] = 'application/x-www-form-urlencoded'
  return {
    url: parseHttpUrl('<url>', urlText),
    method,
    headers,
    body: data === undefined ? undefined : await readData(data, context),
  }
}

function parseHeader(line: string): readonly [string, string] {
  const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)$/.exec(line) ?? []
  if (name !== undefined && value !== undefined) return [name, value]
  throw usageError(`"${line.slice(0, 80)}" is not a header.`, 'Write it as in -H "Accept: text/plain".')
}

/** `@-` is standard input, `@file` a file, anything else the data itself. */
async function readData(data: string, { cwd, readStdin }: CommandContext): Promise<Uint8Array> {
  if (data === '@-') return Buffer.from(await readStdin())
  if (!data.startsWith('@')) return Buffer.from(data)
  const bytes = await readFileBounded(resolve(cwd, data.slice(1)), limits.requestBodyBytesMax)
  if (bytes) return bytes
  throw usageError(`There is no file ${data.slice(1)}.`, 'Data itself may not begin with "@".')
}
