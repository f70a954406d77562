import type { Address } from 'viem'
import { generatePrivateKey } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createDevChain, type DevChain } from '../../../devnet/chain.ts'
import { knownChains } from '../../../protocol/chain/addresses.ts'
import { createChainClient } from '../../../protocol/chain/client.ts'
import { escrowAbi } from '../../../protocol/chain/contracts.ts'
import { planContracts } from '../../../protocol/chain/create2.ts'
import { readBond } from '../../../protocol/chain/registry.ts'
import { parseUsdc } from '../../../protocol/usdc.ts'
import { createTestUser, type TestUser } from '../../testing.ts'

/** Two chains that know nothing of one another, and users who do not either. */

let chains: DevChain[]
let user: TestUser
beforeAll(async () => {
  user = await createTestUser()
  chains = [await createDevChain({ port: 0 }), await createDevChain({ port: 0 })]
})
afterAll(async () => {
  for (const chain of chains) await chain[Symbol.asyncDispose]()
  await user[Symbol.asyncDispose]()
})

interface Deployed {
  readonly usdc: Address
  readonly escrow: Address
  readonly registry: Address
  readonly made: readonly string[]
  readonly transactions: readonly string[]
}

const signal = new AbortController().signal
const lineFor = (chain: number, ...more: string[]) => [
  'contracts',
  'deploy',
  '--rpc',
  chains[chain]?.rpcUrl.href ?? '',
  '--json',
  ...more,
]
const asSomebody = () => ({ env: { KHACHAPURI_PRIVATE_KEY: generatePrivateKey() } })

test('whoever deploys on whatever chain gets the same contracts at the same addresses, and they know their token', async () => {
  const dry = await user.run(lineFor(0, '--dry-run'), asSomebody())
  expect(dry.json()).toMatchObject({ dryRun: true, missing: ['usdc', 'escrow', 'registry'] })

  const first = (await user.run(lineFor(0, '--yes'), asSomebody())).json<Deployed>()
  expect(first.made).toEqual(['usdc', 'escrow', 'registry'])
  const second = (await user.run(lineFor(1, '--yes'), asSomebody())).json<Deployed>()
  for (const name of ['usdc', 'escrow', 'registry'] as const) expect(second[name]).toBe(first[name])

  const client = createChainClient({ chainId: 31_337, rpcUrls: [chains[1]!.rpcUrl] })
  const token = await client.readContract({ address: first.escrow, abi: escrowAbi, functionName: 'token' })
  expect(token).toBe(first.usdc)
  expect(await readBond(client, first.registry, signal)).toMatchObject({
    token: first.usdc,
    amountUsdc: parseUsdc('5'),
  })
})

test('a second time nothing is sent, and another bond makes another registry beside the same escrow', async () => {
  const before = (await user.run(lineFor(0, '--yes'), asSomebody())).json<Deployed>()
  expect(before).toMatchObject({ made: [], transactions: [] })
  const other = (await user.run(lineFor(0, '--yes', '--bond', '7'), asSomebody())).json<Deployed>()
  expect(other).toMatchObject({ made: ['registry'], escrow: before.escrow })
  expect(other.registry).not.toBe(before.registry)
})

test('what is no token of six decimals is refused before anything is made for ever', async () => {
  const nothing = '0x00000000000000000000000000000000000000aa'
  const refused = await user.run(lineFor(0, '--yes', '--usdc', nothing), asSomebody())
  expect(refused.exitCode).toBe(1)
  expect(refused.stdout + refused.stderr).toContain('There is no token at')
  const wrong = await user.run(lineFor(0, '--yes', '--usdc', '0x12'), asSomebody())
  expect(wrong.exitCode).toBe(2)
})

test('one RPC server is asked: a list of them is refused, wherever it stands', async () => {
  const [one, two] = chains.map(({ rpcUrl }) => rpcUrl.href)
  const list = `${one},${two}`
  const byFlag = await user.run(['contracts', 'deploy', '--rpc', list, '--dry-run'], asSomebody())
  const byEnv = await user.run(['contracts', 'deploy', '--dry-run'], { env: { KHACHAPURI_RPC: list } })
  for (const { exitCode, stdout, stderr } of [byFlag, byEnv]) {
    expect(exitCode).toBe(2)
    expect(stdout + stderr).toContain('asks one RPC server, and several are named')
  }
})

test('the escrow of Base is known before it is there: the address follows from code and token alone', () => {
  const bondUsdc = parseUsdc('5')
  const [base, sepolia] = [8453, 84532].map((chainId) =>
    planContracts({ usdc: knownChains[chainId]!.usdc, bondUsdc }),
  )
  expect(base?.map(({ address }) => address)).not.toEqual(sepolia?.map(({ address }) => address))
  expect(planContracts({ usdc: knownChains[8453]!.usdc, bondUsdc })).toEqual(base)
})
