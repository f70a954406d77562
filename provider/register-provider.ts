import { type Address, toHex } from 'viem'
import { assert } from '../protocol/base/assert.ts'
import { type ChainCall, deployResolverCall, registryCalls, resolverCalls } from '../protocol/chain/calls.ts'
import type { TransactionSender } from '../protocol/chain/transaction-sender.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { Name, NameReader, ProviderName } from '../protocol/name.ts'

export interface Registration {
  readonly name: Name
  readonly registry: Address
  /** URL of the provider, or `ws(s)://…/_/tunnel` of the gateway whose tunnel it uses. */
  readonly server: string
  /** RSA key to seal for, as DER SubjectPublicKeyInfo. */
  readonly publicKeyDer: Uint8Array
}

/**
 * Makes the chain say what `registration` says: makes a Resolver and registers the name, or corrects the records of the
 * own Resolver. Does nothing where all is right already.
 *
 * @returns the labels of the transactions that it took
 * @throws ProtocolError `name_taken`, `chain_unreachable`, `balance_too_low`, `transaction_failed`
 */
export async function registerProvider(
  { names, sender }: { names: NameReader; sender: TransactionSender },
  registration: Registration,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const done: string[] = []
  const run = async (call: ChainCall) => {
    const receipt = await sender.run(call, signal)
    done.push(call.label)
    return receipt
  }
  const { name, registry, server } = registration
  const found = await names.readName(name, signal)
  if (found) {
    for (const call of corrections(found, registration, sender.address)) await run(call)
    return done
  }
  const { contractAddress } = await run(
    deployResolverCall({
      owner: sender.address,
      addr: sender.address,
      server,
      pubkey: toHex(registration.publicKeyDer),
    }),
  )
  assert(contractAddress, 'a transaction that makes a contract has its address')
  await run(registryCalls(registry).register(name, contractAddress))
  return done
}

/** What must change on chain until it says what `registration` says. */
function corrections(
  found: ProviderName,
  { name, server, publicKeyDer }: Registration,
  account: Address,
): ChainCall[] {
  if (found.owner !== account) {
    throw new ProtocolError('name_taken', `The name "${name}" belongs to ${found.owner}.`, {
      hint: 'Choose another name with --domain, or use the key of its owner.',
      details: { name, owner: found.owner },
    })
  }
  const records = resolverCalls(found.resolver)
  const calls: ChainCall[] = []
  if (found.address !== account) calls.push(records.setAddr(account))
  if (found.server !== server) calls.push(records.setServer(server))
  if (Buffer.compare(found.publicKey, publicKeyDer) !== 0) calls.push(records.setPubkey(toHex(publicKeyDer)))
  return calls
}
