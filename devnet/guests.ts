import { join } from 'node:path'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import { parseName } from '../protocol/name.ts'
import { parseUsdc } from '../protocol/usdc.ts'
import type { Fault } from '../provider/faults.ts'
import { createProvider, type Provider } from '../provider/provider.ts'
import { createSender, endow, endowNames } from './contracts.ts'
import { runAsDeveloper } from './examples.ts'
import type { DevMarket } from './market.ts'
import { type GuestName, guestNames } from './settings.ts'

export interface GuestOptions {
  readonly dir: string
  readonly settleIntervalMs: number
  readonly version: string
  /** Who changes a byte of each answer. */
  readonly liar: GuestName | undefined
}

/** Five providers, and a deployment that names all of them. */
export interface Guests extends AsyncDisposable {
  /** The CID of `factor` for all five. */
  readonly cid: string
}

/** Starts three more providers, whom the developer pays, too. If one fails to start, the others are closed. */
export async function startGuests(
  { clock, random, log }: { clock: Clock; random: () => number; log: Log },
  market: DevMarket,
  { dir, settleIntervalMs, version, liar }: GuestOptions,
  signal: AbortSignal,
): Promise<Guests> {
  await using starting = new AsyncDisposableStack()
  const { accounts, chain, client, contracts, gateway } = market
  const { chainId } = chain
  const senderOf = (role: 'deployer' | 'developer') =>
    createSender({ client, clock, log }, accounts[role].account, chainId)

  async function start(name: GuestName): Promise<Provider> {
    const account = privateKeyToAccount(generatePrivateKey())
    await chain.fund(account.address)
    await endowNames(senderOf('deployer'), contracts, { account: account.address }, signal)
    const fault: { fault?: Fault } = name === liar ? { fault: 'flip-output' } : {}
    return createProvider(
      { clock, random, log },
      {
        name: parseName(name),
        ...{ account, contracts, version, settleIntervalMs },
        rpcUrls: [chain.rpcUrl],
        fromBlock: 0n,
        dir: join(dir, name),
        priceUsdc: parseUsdc('0.0005'),
        noticeHours: 48,
        reach: { kind: 'tunnel', gatewayUrl: gateway.info.tunnel },
        keepers: [new URL(`http://127.0.0.1:${gateway.port}`)],
        peers: gateway.info.peers,
        mirrorIntervalMs: 200,
        announce: { gateways: [gateway.url], region: 'local' },
        ...fault,
      },
      signal,
    )
  }

  const guests: Provider[] = []
  // One after the other: the deployer has one nonce.
  for (const name of guestNames) guests.push(starting.use(await start(name)))
  const grants = guests.map(({ address }) => ({
    provider: address,
    priceUsdc: parseUsdc('0.001'),
    budgetUsdc: parseUsdc('10'),
  }))
  const money = { mintedUsdc: parseUsdc('30'), depositedUsdc: parseUsdc('30'), grants }
  await endow(senderOf('developer'), contracts, money, { nowMs: clock.nowMs(), signal })
  const names = ['alice', 'bob', ...guestNames].flatMap((name) => ['--provider', name])
  const folder = join(import.meta.dirname, '..', 'examples', 'factor')
  const line = ['deploy', folder, ...names, '--public', '--owner-per-day', '5', '--json']
  const { cid } = JSON.parse(await runAsDeveloper(line, market, dir, signal)) as { cid: string }
  const parts = starting.move()
  return { cid, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
