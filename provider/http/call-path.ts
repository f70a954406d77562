import { ProtocolError } from '../../protocol/errors.ts'

/** Where a request goes: to a page of the provider's own, or to a program. */
export type Route =
  | { readonly kind: 'page' }
  | {
      readonly kind: 'call'
      /** As written; not parsed yet. */
      readonly cid: string
      /** What the program sees: path and query after the CID. */
      readonly target: string
    }

/** First segments that mean a CID, rather than a page that somebody looks for. */
const cidLike = /^(?:baf[a-z0-9]*|Qm[A-Za-z0-9]*|[a-zA-Z0-9]{40,})$/

/**
 * Reads `/<cid>[/path][?query]`. Everything below `/_/` and `/ipfs` belongs to the provider.
 *
 * @throws ProtocolError `not_found` for a path that is neither
 */
export function parseRoute(url: string): Route {
  const pathEnd = url.indexOf('?') < 0 ? url.length : url.indexOf('?')
  const segmentEnd = url.indexOf('/', 1)
  const end = segmentEnd < 0 || segmentEnd > pathEnd ? pathEnd : segmentEnd
  const first = url.slice(1, end)
  if (cidLike.test(first)) {
    const rest = url.slice(end)
    return { kind: 'call', cid: first, target: rest.startsWith('/') ? rest : `/${rest}` }
  }
  if (isPage(first)) return { kind: 'page' }
  throw new ProtocolError('not_found', 'There is nothing at this path.', {
    hint: 'Programs answer at /<cid>/…; / says what this provider offers.',
  })
}

const isPage = (first: string) =>
  first === '' || first === '_' || first === 'ipfs' || first === 'healthz' || first === '.well-known'
