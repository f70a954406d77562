import { Resolver } from 'node:dns/promises'
import { limits } from '../../protocol/limits.ts'

/** The TXT records of a host, each with its pieces put together; none where there are none. Rejects where nobody knows. */
export type LookupTxt = (host: string) => Promise<readonly string[]>

/** Asks the machine's name servers, or those of `resolver`. */
export function createTxtLookup(resolver = createResolver()): LookupTxt {
  return async (host) => {
    try {
      return (await resolver.resolveTxt(host)).map((pieces) => pieces.join(''))
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'ENOTFOUND' || code === 'ENODATA') return []
      throw error
    }
  }
}

function createResolver(): Resolver {
  return new Resolver({ timeout: limits.domainLookupTimeoutMs, tries: 2 })
}
