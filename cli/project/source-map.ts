import { SourceMap } from 'node:module'
import { posix } from 'node:path'
import { parseJson } from '../../protocol/canonical-json.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'

/** Where the parts of a bundle come from. It stays with its developer: neither the zip nor its identity has it. */
export interface BundleMap {
  /** The bundle's path in the zip. */
  readonly path: string
  /** Source map revision 3, as JSON, without the sources. */
  readonly json: Uint8Array
}

/** Puts places of the sources where a text names places of their bundle: `src/index.ts:3:9` for `src/index.js:1:95`. */
export type Locate = (text: string) => string

/** What cannot be read, or is not in the map, stays as it is. */
export function createLocate(map: BundleMap | undefined): Locate {
  const origins = map && readMap(map)
  if (!origins) return (text) => text
  const { path } = map
  const place = new RegExp(`(?<![\\w./-])(?:program/)?${RegExp.escape(path)}:(\\d{1,9}):(\\d{1,9})`, 'g')
  return (text) =>
    text.replace(place, (whole, line: string, column: string) => {
      // Both count from 0.
      const origin = origins.findEntry(Number(line) - 1, Number(column) - 1)
      if (!('originalSource' in origin) || typeof origin.originalSource !== 'string') return whole
      if (origin.generatedLine !== Number(line) - 1) return whole
      const source = posix.join(posix.dirname(path), origin.originalSource)
      return `${source}:${origin.originalLine + 1}:${origin.originalColumn + 1}`
    })
}

/** The same in what is said of a fault. */
export function locateError(error: unknown, locate: Locate): unknown {
  if (!isProtocolError(error)) return error
  const { code, message, hint, details, cause } = error
  return new ProtocolError(code, locate(message), { hint, details, cause })
}

function readMap({ json }: BundleMap): SourceMap | undefined {
  try {
    return new SourceMap(parseJson(json) as unknown as ConstructorParameters<typeof SourceMap>[0])
  } catch {
    return undefined
  }
}
