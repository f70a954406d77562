import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Address, createTestClient, http, type LocalAccount, type PublicClient } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createDevChain } from '../../devnet/chain.ts'
import { type Contracts, createSender, deployContracts, endowNames } from '../../devnet/contracts.ts'
import type { Gateway } from '../../gateway/gateway.ts'
import { startGateway } from '../../gateway/start-gateway.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { usdcCalls } from '../../protocol/chain/calls.ts'
import { createDevChainTime } from '../../protocol/chain/chain-time.ts'
import { createChainClient } from '../../protocol/chain/client.ts'
import { createNameReader } from '../../protocol/chain/name-reader.ts'
import type { TransactionSender } from '../../protocol/chain/transaction-sender.ts'
import { encryptKeystore } from '../../protocol/keystore.ts'
import { parseName } from '../../protocol/name.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import { registerProvider } from '../../provider/register-provider.ts'
import { openSealKeys } from '../../provider/seal-keys.ts'
import { createTestUser, type TestUser } from '../testing.ts'

/** A user in the directory of a market: a real chain with the contracts, a real gateway, and alice registered. */
export interface TestMarket extends AsyncDisposable {
  readonly user: TestUser
  readonly client: PublicClient
  readonly contracts: Contracts
  readonly gateway: Gateway
  readonly rpcUrl: URL
  /** Has 100 USDC in its wallet, and ether. */
  readonly developer: LocalAccount
  /** Provides under the name `alice`; nobody answers there. */
  readonly alice: LocalAccount
  readonly aliceSender: TransactionSender
  /** Lets time pass on the chain. */
  wait(seconds: number): Promise<void>
}

const signal = new AbortController().signal

export async function createTestMarket(): Promise<TestMarket> {
  await using starting = new AsyncDisposableStack()
  const user = starting.use(await createTestUser())
  const chain = starting.use(await createDevChain({ port: 0 }))
  const { chainId, rpcUrl } = chain
  const client = createChainClient({ chainId, rpcUrls: [rpcUrl] })
  const deps = { client, clock: systemClock, log: createTestLog() }
  const accountKeys = {
    deployer: generatePrivateKey(),
    developer: generatePrivateKey(),
    alice: generatePrivateKey(),
  }
  const accountOf = (role: keyof typeof accountKeys) => privateKeyToAccount(accountKeys[role])
  const senderOf = (role: keyof typeof accountKeys) => createSender(deps, accountOf(role), chainId)
  for (const role of ['deployer', 'developer', 'alice'] as const) await chain.fund(accountOf(role).address)

  const contracts = await deployContracts(senderOf('deployer'), chainId, signal)
  const developer = accountOf('developer')
  await senderOf('deployer').run(usdcCalls(contracts.usdc).mint(developer.address, parseUsdc('100')), signal)
  const aliceSender = senderOf('alice')
  await endowNames(aliceSender, contracts, { account: aliceSender.address }, signal)
  const { publicKeyDer } = await openSealKeys(deps, join(user.dir, 'alice-keys'))
  await registerProvider(
    {
      client,
      chainTime: createDevChainTime(deps),
      names: createNameReader(deps, { registry: contracts.registry }),
      sender: aliceSender,
      onProgress: () => undefined,
    },
    {
      name: parseName('alice'),
      chainId,
      registry: contracts.registry,
      server: 'http://127.0.0.1:1',
      publicKeyDer,
    },
    signal,
  )
  const gateway = starting.use(
    await startGateway(
      deps,
      {
        host: '127.0.0.1',
        port: 0,
        allowPrivate: true,
        dir: join(user.dir, 'gateway'),
        contracts,
        version: 'test',
        logsCalls: false,
      },
      signal,
    ),
  )
  await writeMarket(user.dir, { gateway, rpcUrl, contracts, keys: { developer: accountKeys.developer } })
  const test = createTestClient({ mode: 'hardhat', transport: http(rpcUrl.href) })
  const parts = starting.move()
  return {
    user,
    client,
    contracts,
    gateway,
    rpcUrl,
    developer,
    alice: accountOf('alice'),
    aliceSender,
    async wait(seconds) {
      await test.increaseTime({ seconds })
      await test.mine({ blocks: 1 })
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}

/** Writes what `npm start` writes for the command line. */
export async function writeMarket(
  dir: string,
  {
    gateway,
    rpcUrl,
    contracts,
    keys,
    zone,
  }: {
    gateway: { readonly url: URL }
    rpcUrl: URL
    contracts: {
      readonly chainId: number
      readonly usdc: Address
      readonly escrow: Address
      readonly registry: Address
    }
    keys: Readonly<Record<string, `0x${string}`>>
    zone?: string
  },
): Promise<void> {
  const { chainId, ...addresses } = contracts
  const keystore = join(dir, '.khachapuri', 'keystore')
  await mkdir(keystore, { recursive: true })
  await writeFile(join(keystore, 'password'), 'worthless\n')
  for (const [name, key] of Object.entries(keys)) {
    await writeFile(
      join(keystore, `${name}.json`),
      await encryptKeystore(key, 'worthless', { scryptCost: 2 }),
    )
  }
  const market = {
    gateway: gateway.url.href,
    rpc: rpcUrl.href,
    chainId,
    contracts: addresses,
    ...(zone && { zone }),
  }
  await writeFile(join(dir, '.khachapuri', 'market.json'), JSON.stringify(market))
}
