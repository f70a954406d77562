import { join } from 'node:path'
import { createMarket, type DevMarket } from '../../devnet/market.ts'
import { systemClock } from '../../protocol/base/clock.ts'
import { createTestLog } from '../../protocol/base/log.ts'
import { limits } from '../../protocol/limits.ts'
import { parseUsdc } from '../../protocol/usdc.ts'
import type { Fault } from '../../provider/faults.ts'
import { createTestUser, type TestUser } from '../testing.ts'
import { writeMarket } from './testing-market.ts'

/** A whole market, providers and all, with a user in its directory who has a program there, `app`. */
export interface UserInMarket extends AsyncDisposable {
  readonly user: TestUser
  readonly market: DevMarket
}

export async function createUserInMarket(options: { fault?: Fault } = {}): Promise<UserInMarket> {
  await using starting = new AsyncDisposableStack()
  const user = starting.use(await createTestUser())
  const market = starting.use(
    await createMarket(
      { clock: systemClock, random: () => 0.5, log: createTestLog(), onProgress: () => {} },
      {
        dir: join(user.dir, '.market'),
        gatewayPort: 0,
        priceUsdc: parseUsdc('0.0005'),
        settleIntervalMs: limits.settleIntervalMs,
        version: 'test',
        ...options,
      },
      new AbortController().signal,
    ),
  )
  const { gateway, chain, contracts, accounts, zone } = market
  const keys = {
    developer: accounts.developer.privateKey,
    payer: accounts.payer.privateKey,
    alice: accounts.alice.privateKey,
  }
  await writeMarket(user.dir, { gateway, rpcUrl: chain.rpcUrl, contracts, keys, zone })
  await user.run(['init', 'app'])
  const parts = starting.move()
  return { user, market, [Symbol.asyncDispose]: () => parts.disposeAsync() }
}
