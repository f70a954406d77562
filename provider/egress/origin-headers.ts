import { egressHeader } from '../../protocol/egress.ts'
import { connectionOptions, hopByHopHeaders } from '../../protocol/http/headers.ts'
import type { RawHeaders } from '../../protocol/http/upstream.ts'

/**
 * The headers of a program's request as its server gets them: end-to-end ones, and the `Host` of the URL whatever the
 * program says, or an allowed name would be a way to the others at its address.
 */
export function toOriginHeaders(
  rawHeaders: RawHeaders,
  { connection, host }: { connection: string | undefined; host: string },
): string[] {
  const dropped = connectionOptions(connection)
  const kept = ['host', host]
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]!.toLowerCase()
    if (name === 'host' || name === 'expect' || hopByHopHeaders.has(name) || dropped.includes(name)) continue
    kept.push(rawHeaders[index]!, rawHeaders[index + 1]!)
  }
  return kept
}

/** A server's headers as the program gets them: none may say that it is the provider who answers. */
export function fromOriginHeaders(rawHeaders: RawHeaders): string[] {
  return rawHeaders.filter((_, index) => rawHeaders[index - (index % 2)]!.toLowerCase() !== egressHeader)
}
