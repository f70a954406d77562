import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { encryptKeystore, scryptCostLight } from '../protocol/keystore.ts'
import type { DeployedExample } from './examples.ts'
import { type DevMarket, roles } from './market.ts'

/**
 * Writes `market.json` for scripts and the command line, and the accounts' keys as a keystore beside it. The market's
 * money is worthless, but its keys are treated like any others: encrypted, and gone with the market.
 *
 * @param swarm - The CID that all five providers serve, where they are there.
 * @returns what removes both again
 */
export async function writeMarketFile(
  folder: string,
  market: DevMarket,
  deployments: readonly DeployedExample[],
  swarm?: string,
): Promise<AsyncDisposable> {
  await writeKeystore(join(folder, 'keystore'), market)
  const path = join(folder, 'market.json')
  // Renamed into place: whoever finds the file finds it whole.
  await writeFile(
    `${path}.new`,
    `${JSON.stringify({ ...describeMarket(market, deployments), ...(swarm && { swarm }) }, null, 2)}\n`,
  )
  await rename(`${path}.new`, path)
  return {
    async [Symbol.asyncDispose]() {
      await rm(path, { force: true })
      await rm(join(folder, 'keystore'), { recursive: true, force: true })
    },
  }
}

/** The content of `market.json`. */
export function describeMarket(
  market: DevMarket,
  deployments: readonly DeployedExample[],
): Record<string, unknown> {
  const { gateway, chain, contracts, accounts, providers, zone } = market
  const { chainId, ...addresses } = contracts
  return {
    gateway: gateway.url.origin,
    rpc: chain.rpcUrl.origin,
    chainId,
    zone,
    contracts: addresses,
    accounts: Object.fromEntries(roles.map((role) => [role, accounts[role].account.address])),
    providers: Object.fromEntries(
      Object.values(providers).map(({ address, info }) => [
        info.name,
        { address, url: `http://${info.name}.${gateway.domain}` },
      ]),
    ),
    deployments: Object.fromEntries(
      deployments.map(({ name, cid, program, programId, urls }) => [name, { cid, program, programId, urls }]),
    ),
  }
}

async function writeKeystore(dir: string, { accounts }: DevMarket): Promise<void> {
  await rm(dir, { recursive: true, force: true })
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const password = randomBytes(24).toString('base64url')
  await writeFile(join(dir, 'password'), password, { mode: 0o600 })
  for (const role of roles) {
    const keystore = await encryptKeystore(accounts[role].privateKey, password, {
      scryptCost: scryptCostLight,
    })
    await writeFile(join(dir, `${role}.json`), keystore, { mode: 0o600 })
  }
}
