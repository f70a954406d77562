import { isDevChain } from '../../protocol/dev-chain.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { EgressNetwork } from './connections.ts'
import { createDnsLookup } from './lookup-names.ts'

/**
 * The network of a provider's programs: public servers, by the DNS.
 *
 * @param allowPrivate - This machine and its network as well, for tests and demonstrations.
 * @throws ProtocolError `config_invalid` for that on a chain with real money, where programs are strangers'
 */
export function createEgressNetwork({
  chainId,
  allowPrivate,
}: {
  chainId: number
  allowPrivate: boolean
}): EgressNetwork {
  if (allowPrivate && !isDevChain({ chainId })) {
    throw new ProtocolError(
      'config_invalid',
      `Programs may not reach this machine and its network on chain ${chainId}.`,
      { hint: 'That is for development chains, such as that of "npm start".' },
    )
  }
  return { lookup: createDnsLookup(), allowPrivate }
}

/** What programs reach where nobody has said more. */
export function publicNetwork(): EgressNetwork {
  return { lookup: createDnsLookup(), allowPrivate: false }
}
