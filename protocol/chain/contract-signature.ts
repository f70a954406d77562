import { encodeFunctionData, type PublicClient, parseAbi } from 'viem'
import { limits } from '../limits.ts'
import type { SignatureClaim } from '../signed-by.ts'
import { readIfThere } from './read-if-there.ts'

const abi = parseAbi(['function isValidSignature(bytes32 hash, bytes signature) view returns (bytes4)'])
const yes = '0x1626ba7e'

/**
 * Whether the contract at an account says that it signed (ERC-1271). It is a stranger's code, so what it may compute is bounded.
 *
 * @param blockNumber - Of which moment; the newest block by default.
 * @returns false where there is no contract, and where it fails
 * @throws ProtocolError `chain_unreachable`
 */
export async function readContractSignature(
  client: PublicClient,
  { address, hash, signature, blockNumber }: SignatureClaim & { readonly blockNumber?: bigint },
  signal: AbortSignal,
): Promise<boolean> {
  const data = encodeFunctionData({ abi, args: [hash, signature] })
  const asked = {
    to: address,
    data,
    gas: limits.contractSignatureGasMax,
    ...(blockNumber !== undefined && { blockNumber }),
  }
  const answer = await readIfThere(() => client.call(asked), 'check a signature', signal)
  return answer?.data?.slice(0, yes.length) === yes
}
