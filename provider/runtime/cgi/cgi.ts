/**
 * The Common Gateway Interface (RFC 3875), with the variables that WAGI adds: how a program that knows environment,
 * standard input and standard output answers HTTP.
 */

/** What of a request becomes environment. */
export interface CgiRequest {
  readonly method: string
  readonly url: string
  readonly headers: Iterable<readonly [string, string]>
}

/** The meta-variables of a request. */
export function toMetaVariables({ method, url, headers }: CgiRequest): Record<string, string> {
  const { pathname, search, hostname, port, protocol, href } = new URL(url)
  const variables: Record<string, string> = {
    GATEWAY_INTERFACE: 'CGI/1.1',
    SERVER_PROTOCOL: 'HTTP/1.1',
    SERVER_SOFTWARE: 'khachapuri',
    SERVER_NAME: hostname,
    SERVER_PORT: port || (protocol === 'https:' ? '443' : '80'),
    REQUEST_METHOD: method,
    SCRIPT_NAME: '',
    PATH_INFO: decode(pathname),
    QUERY_STRING: search.slice(1),
    REQUEST_URI: pathname + search,
    X_RAW_PATH_INFO: pathname,
    X_FULL_URL: href,
  }
  for (const [name, value] of headers) {
    const lowerName = name.toLowerCase()
    if (lowerName === 'content-type') variables['CONTENT_TYPE'] = value
    else if (lowerName === 'content-length') variables['CONTENT_LENGTH'] = value
    // HTTP_PROXY would send the program's own requests elsewhere (httpoxy.org); x_a would pose as x-a.
    else if (lowerName !== 'proxy' && !lowerName.includes('_'))
      variables[`HTTP_${lowerName.toUpperCase().replaceAll('-', '_')}`] = value
  }
  return variables
}

function decode(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

/** The head of a program's answer. */
export interface CgiHead {
  readonly status: number
  readonly headers: readonly (readonly [string, string])[]
}

/** What is wrong with an answer, for its developer. */
export class InvalidAnswer extends Error {}

export const headBytesMax = 64 * 1024

/**
 * Where a head ends.
 *
 * @param from - Before this no line ends that an empty one follows: where it comes in pieces, each is looked at once.
 * @returns the index of the body's first byte, or undefined where the blank line has not come yet
 */
export function findBody(bytes: Uint8Array, from = 0): number | undefined {
  if (bytes[0] === lineFeed) return 1
  if (bytes[0] === carriageReturn && bytes[1] === lineFeed) return 2
  for (let i = from; i < bytes.length && i <= headBytesMax; i += 1) {
    if (bytes[i] !== lineFeed) continue
    if (bytes[i + 1] === lineFeed) return i + 2
    if (bytes[i + 1] === carriageReturn && bytes[i + 2] === lineFeed) return i + 3
  }
  return undefined
}

const lineFeed = 10
const carriageReturn = 13

/** @param text - The lines before the blank one. @throws InvalidAnswer */
export function parseHead(text: string): CgiHead {
  let status: number | undefined
  const headers: [string, string][] = []
  for (const line of text.split(/\r?\n/)) {
    if (line === '') continue
    const [, name, value = ''] =
      /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0-\x08\n-\x1f\x7f]*)$/.exec(line) ?? []
    if (name === undefined)
      throw new InvalidAnswer(`It began with "${line.slice(0, 80)}", which is no CGI header.`)
    if (name.toLowerCase() !== 'status') headers.push([name, value.trimEnd()])
    else if (/^[2-5]\d\d(?: |$)/.test(value)) status = Number(value.slice(0, 3))
    else throw new InvalidAnswer(`It gave the status "${value.slice(0, 80)}", which is none from 200 to 599.`)
  }
  const isRedirect = headers.some(([name]) => name.toLowerCase() === 'location')
  return { status: status ?? (isRedirect ? 302 : 200), headers }
}
