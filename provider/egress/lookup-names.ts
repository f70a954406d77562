import type { LookupAddress } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import type { Lookup } from '../../protocol/http/dial-checked.ts'
import { limits } from '../../protocol/limits.ts'

/**
 * Looks names up in the DNS alone: neither the machine's own names nor its search domains are a program's affair, and a
 * name server that takes its time holds up nobody else, as the system's resolver would.
 */
export function createDnsLookup(resolver = createResolver()): Lookup {
  const ask = async (hostname: string): Promise<LookupAddress[]> => {
    const answers = await Promise.allSettled([resolver.resolve4(hostname), resolver.resolve6(hostname)])
    const addresses = answers.flatMap((answer, index) =>
      answer.status === 'fulfilled'
        ? answer.value.map((address) => ({ address, family: index === 0 ? 4 : 6 }))
        : [],
    )
    if (addresses.length > 0) return addresses
    throw answers.find((answer) => answer.status === 'rejected')?.reason ?? new Error('It has no address.')
  }
  return (hostname, answer) => {
    if (isLoopbackName(hostname)) return answer(null, loopback)
    ask(hostname).then(
      (addresses) => answer(null, addresses),
      (error: Error) => answer(error, []),
    )
  }
}

function createResolver(): Resolver {
  return new Resolver({ timeout: limits.egressLookupTimeoutMs, tries: 2 })
}

/** These names never leave the machine (RFC 6761); whether it may be dialled is asked later, as for every address. */
function isLoopbackName(hostname: string): boolean {
  return /(?:^|\.)localhost\.?$/.test(hostname)
}

const loopback: readonly LookupAddress[] = [{ address: '127.0.0.1', family: 4 }]
