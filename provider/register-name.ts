import { type Address, formatUnits, type PublicClient, toHex } from 'viem'
import { assert } from '../protocol/base/assert.ts'
import { type ChainCall, deployResolverCall, registryCalls, usdcCalls } from '../protocol/chain/calls.ts'
import type { ChainTime } from '../protocol/chain/chain-time.ts'
import { reachChain } from '../protocol/chain/client.ts'
import { type Bond, readBond, readCommittedAt, readFreeFrom, readWallet } from '../protocol/chain/registry.ts'
import type { TransactionSender } from '../protocol/chain/transaction-sender.ts'
import { ProtocolError } from '../protocol/errors.ts'
import type { Name } from '../protocol/name.ts'
import {
  assertRegistrable,
  type RegistrationTerms,
  registrationCommitment,
  registrationRules,
} from '../protocol/registration.ts'
import { formatUsdc } from '../protocol/usdc.ts'

export interface Registration {
  readonly name: Name
  readonly chainId: number
  readonly registry: Address
  /** URL of the provider, or `ws(s)://…/_/tunnel` of the gateway whose tunnel it uses. */
  readonly server: string
  /** RSA key to seal for, as DER SubjectPublicKeyInfo. */
  readonly publicKeyDer: Uint8Array
  /** What the new Resolver is to say beside that, before the name is taken. */
  readonly records?: (resolver: Address) => readonly ChainCall[]
}

export interface RegisterDeps {
  readonly client: PublicClient
  readonly chainTime: ChainTime
  readonly sender: TransactionSender
  /** Hears of a step before it is taken; some take a minute. */
  readonly onProgress: (step: string) => void
}

/** What a name is registered for, and renewed by. */
export const registrationSeconds = 365 * 24 * 3600

/**
 * Registers a name that nobody owns: makes a Resolver, commits, waits until the commitment can be used, registers. If
 * this is cut short, what is lost is the gas of the Resolver; the bond moves with the last step.
 *
 * @returns the labels of the transactions that it took
 * @throws ProtocolError `name_malformed`, `balance_too_low` before anything is sent; `name_taken` where somebody was
 * faster, `chain_unreachable`, `transaction_failed`
 */
export async function registerName(
  { client, chainTime, sender, onProgress }: RegisterDeps,
  { name, chainId, registry, server, publicKeyDer, records = () => [] }: Registration,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const done: string[] = []
  const run = async (call: ChainCall) => {
    onProgress(call.label)
    const receipt = await sender.run(call, signal)
    done.push(call.label)
    return receipt
  }
  assertRegistrable(name)
  await assertRested({ client, registry, name }, signal)
  const owner = sender.address
  const bond = await readBond(client, registry, signal)
  const { isAllowed } = await assertBondAffordable({ client, bond, account: owner, registry, name }, signal)
  const { contractAddress } = await run(
    deployResolverCall({ owner, addr: owner, server, pubkey: toHex(publicKeyDer) }),
  )
  assert(contractAddress, 'a transaction that makes a contract has its address')
  for (const call of records(contractAddress)) await run(call)
  const terms: RegistrationTerms = {
    name,
    owner,
    resolver: contractAddress,
    durationSeconds: registrationSeconds,
    secret: toHex(crypto.getRandomValues(new Uint8Array(32))),
  }
  const commitment = registrationCommitment(terms, { chainId, registry })
  await run(registryCalls(registry).commit(commitment))
  if (!isAllowed) await run(usdcCalls(bond.token).approve(registry, bond.amountUsdc))
  const committedAt = await readCommittedAt(client, { registry, commitment }, signal)
  onProgress(`wait ${registrationRules.commitmentAgeMin} s, so that nobody who saw it can be faster`)
  await chainTime.waitUntil(committedAt + registrationRules.commitmentAgeMin, signal)
  await run(registryCalls(registry).register(terms))
  return done
}

/** Refuses a name that had an owner not long ago. */
async function assertRested(
  { client, registry, name }: { client: PublicClient; registry: Address; name: Name },
  signal: AbortSignal,
): Promise<void> {
  const freeFrom = await readFreeFrom(client, { registry, name }, signal)
  const { timestamp } = await reachChain(client.getBlock(), 'read the time', signal)
  if (Number(timestamp) + registrationRules.commitmentAgeMin >= freeFrom) return
  const time = new Date(freeFrom * 1_000).toISOString()
  throw new ProtocolError('name_taken', `The name "${name}" had an owner, and is nobody's until ${time}.`, {
    hint: 'Choose another name, or register it then.',
    details: { name, freeFrom },
  })
}

/** Refuses before any gas is spent. */
async function assertBondAffordable(
  {
    client,
    bond: { token, amountUsdc },
    account,
    registry,
    name,
  }: { client: PublicClient; bond: Bond; account: Address; registry: Address; name: Name },
  signal: AbortSignal,
): Promise<{ isAllowed: boolean }> {
  const { balance, allowed } = await readWallet(client, { token, account, spender: registry }, signal)
  if (balance >= amountUsdc) return { isAllowed: allowed >= amountUsdc }
  throw new ProtocolError(
    'balance_too_low',
    `The account ${account} has ${formatUnits(balance, 6)} USDC in its wallet, and the name "${name}" takes a bond of ${formatUsdc(amountUsdc)} USDC.`,
    {
      hint: 'Send it USDC. The bond comes back when the name is given back.',
      details: { account, bondUsdc: amountUsdc.toString(), token },
    },
  )
}
