import { type PublicClient, toHex } from 'viem'
import { type ChainCall, registryCalls, resolverCalls } from '../protocol/chain/calls.ts'
import { reachChain } from '../protocol/chain/client.ts'
import { readExpiry } from '../protocol/chain/registry.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { NameReader, NameRecord, ProviderName } from '../protocol/name.ts'
import { registrationRules } from '../protocol/registration.ts'
import { type RegisterDeps, type Registration, registerName, registrationSeconds } from './register-name.ts'

/**
 * Makes the chain say what `registration` says: registers the name with a Resolver of its own, or corrects the records of
 * the Resolver that it has, and renews it in good time. Does nothing where all is right already.
 *
 * @returns the labels of the transactions that it took
 * @throws ProtocolError `name_taken`, `name_malformed`, `chain_unreachable`, `balance_too_low`, `transaction_failed`
 */
export async function registerProvider(
  { names, ...deps }: RegisterDeps & { readonly names: NameReader },
  registration: Registration,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const { client, sender } = deps
  const { name, registry } = registration
  const found = await names.readName(name, signal)
  if (!found) return registerName(deps, registration, signal)
  assertOwn(found, sender.address)
  if (found.kind === 'deployment') throw standsForDeployment(found)
  const renewal = await findRenewal(client, { name, registry }, signal)
  const calls = [...(renewal.call ? [renewal.call] : []), ...corrections(found, registration, sender.address)]
  for (const call of calls) {
    deps.onProgress(call.label)
    await sender.run(call, signal)
  }
  return calls.map(({ label }) => label)
}

/** A name, and where it is registered. */
export type NamePlace = Pick<Registration, 'name' | 'registry'>

/** What renews a name, from four weeks before its end on. @throws ProtocolError `chain_unreachable` */
export async function findRenewal(
  client: PublicClient,
  { name, registry }: NamePlace,
  signal: AbortSignal,
): Promise<{ readonly dueAtSeconds: number; readonly call: ChainCall | undefined }> {
  const expiry = await readExpiry(client, { registry, name }, signal)
  const { timestamp } = await reachChain(client.getBlock(), 'read the time', signal)
  const dueAtSeconds = expiry - registrationRules.durationMin
  const isDue = Number(timestamp) > dueAtSeconds
  return { dueAtSeconds, call: isDue ? registryCalls(registry).renew(name, registrationSeconds) : undefined }
}

/** A name is one or the other: what makes it a deployment's is not taken off behind the back of its owner. */
function standsForDeployment({ name }: NameRecord): ProtocolError {
  return new ProtocolError('name_taken', `The name "${name}" stands for a deployment of this account.`, {
    hint: 'Choose another name with --domain.',
    details: { name },
  })
}

function assertOwn({ name, owner }: NameRecord, account: ProviderName['owner']): void {
  if (owner === account) return
  throw new ProtocolError('name_taken', `The name "${name}" belongs to ${owner}.`, {
    hint: 'Choose another name with --domain, or use the key of its owner.',
    details: { name, owner },
  })
}

/** What must change in the records until they say what `registration` says. */
function corrections(
  found: ProviderName,
  { server, publicKeyDer }: Registration,
  account: ProviderName['owner'],
): ChainCall[] {
  const records = resolverCalls(found.resolver)
  const calls: ChainCall[] = []
  if (found.address !== account) calls.push(records.setAddr(account))
  if (found.server !== server) calls.push(records.setServer(server))
  if (Buffer.compare(found.publicKey, publicKeyDer) !== 0) calls.push(records.setPubkey(toHex(publicKeyDer)))
  return calls
}
