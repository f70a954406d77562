import { type Address, encodeFunctionData, toHex } from 'viem'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { toChainError } from '../../protocol/chain/chain-error.ts'
import { createChainTime } from '../../protocol/chain/chain-time.ts'
import { registryAbi } from '../../protocol/chain/contracts.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import { parseName } from '../../protocol/name.ts'
import {
  type RegistrationTerms,
  registrationCommitment,
  registrationRules,
} from '../../protocol/registration.ts'
import {
  type ContractsOnChain,
  deployRegistry,
  openContractsOnChain,
  registerOnChain,
} from '../support/contracts-on-chain.ts'

const owner: Address = '0x00000000000000000000000000000000000000A1'
const resolver: Address = '0x00000000000000000000000000000000000000a2'
const signal = new AbortController().signal

let chain: ContractsOnChain
let registry: Address
beforeAll(async () => {
  chain = await openContractsOnChain()
  await chain.unlock(owner)
  registry = await deployRegistry(chain)
})
afterAll(() => chain[Symbol.asyncDispose]())

const toRefusal = (error: unknown) => toChainError(error, 'register')
const read = <T>(functionName: string, args: readonly unknown[] = []) =>
  chain.client.readContract({
    address: registry,
    abi: registryAbi,
    functionName,
    args,
  } as never) as Promise<T>

describe('what is said here and in the contract', () => {
  test('is the same of its rules', async () => {
    const names = {
      commitmentAgeMin: 'COMMITMENT_AGE_MIN',
      commitmentAgeMax: 'COMMITMENT_AGE_MAX',
      durationMin: 'DURATION_MIN',
      durationMax: 'DURATION_MAX',
      grace: 'GRACE',
      quarantine: 'QUARANTINE',
    } as const
    for (const [name, getter] of Object.entries(names)) {
      expect(await read(getter), name).toBe(BigInt(registrationRules[name as keyof typeof names]))
    }
  })

  test('is the same of commitments, whatever they are made of', async () => {
    const place = { chainId: await chain.client.getChainId(), registry }
    for (let i = 1; i <= 20; i += 1) {
      const terms: RegistrationTerms = {
        name: parseName(`name-${i ** 7}`),
        owner: toHex(BigInt(i) ** 20n, { size: 20 }),
        resolver: toHex(BigInt(i) ** 19n, { size: 20 }),
        durationSeconds: i * 1_234_567,
        secret: toHex(crypto.getRandomValues(new Uint8Array(32))),
      }
      const args = [terms.name, terms.owner, terms.resolver, BigInt(terms.durationSeconds), terms.secret]
      expect(registrationCommitment(terms, place)).toBe(await read('makeCommitment', args))
    }
  })
})

test('a name that lapses is nobody’s for those who resolve it', async () => {
  const name = parseName('lapsing')
  const deps = { client: chain.client, clock: createTestClock(), log: createTestLog() }
  const reader = createNameReader(deps, { registry })
  await registerOnChain(chain, { registry, name, owner, resolver })
  // It has an owner, and what it points to is no resolver.
  await expect(reader.readName(name, signal)).rejects.toMatchObject({ code: 'provider_address_blocked' })
  await chain.wait(registrationRules.durationMin + registrationRules.grace)
  expect(await reader.readName(name, signal)).toBeUndefined()
})

test('who waits for a time of the chain sleeps until then, and looks again while blocks are late', async () => {
  const clock = createTestClock()
  const { timestamp } = await chain.client.getBlock()
  const chainTime = createChainTime({ client: chain.client, clock })
  await chainTime.waitUntil(Number(timestamp), signal)
  expect(clock.sleepers).toBe(0)

  let isOver = false
  const waiting = chainTime.waitUntil(Number(timestamp) + 60, signal).then(() => {
    isOver = true
  })
  const asleep = async () => {
    while (clock.sleepers === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await asleep()
  await clock.advance(60_000)
  // Our clock says that it is time, and no block does.
  await asleep()
  expect(isOver).toBe(false)
  await chain.wait(60)
  await clock.advance(60_000)
  await waiting
})

test('a commitment that is too new is refused with the time from which it is good', async () => {
  const secret = toHex(7n, { size: 32 })
  const terms = { name: parseName('hasty'), owner, resolver, durationSeconds: 28 * 86_400, secret }
  const commitment = registrationCommitment(terms, { chainId: await chain.client.getChainId(), registry })
  await chain.send({
    from: owner,
    to: registry,
    abi: registryAbi,
    functionName: 'commit',
    args: [commitment],
  })
  const args = [terms.name, owner, resolver, BigInt(terms.durationSeconds), secret] as const
  const data = encodeFunctionData({ abi: registryAbi, functionName: 'register', args })
  const refused = await chain.client.call({ account: owner, to: registry, data }).catch(toRefusal)
  expect(refused).toMatchObject({
    code: 'transaction_failed',
    message: expect.stringMatching(/can be registered from 20\d\d-/),
  })
})
