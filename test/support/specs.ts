import { randomBytes } from 'node:crypto'
import { systemClock } from '../../protocol/base/clock.ts'
import {
  type DeploymentDraft,
  type DeploymentSpec,
  formatDeployment,
  parseDeployment,
  signDeployment,
} from '../../protocol/deployment.ts'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { uploadCar } from '../../protocol/ipfs/upload-client.ts'
import type { TestMarket } from './market.ts'

/** Deployments made by hand, past everything that the command line checks. */

const signal = new AbortController().signal

/** Puts any bytes into the gateway's keeper, as the developer may. @returns their CID */
export async function publish({ dev, market }: TestMarket, bytes: Uint8Array): Promise<string> {
  const { cid, blocks } = await importFile(bytes)
  const owner = dev.accounts.developer.account
  const keeperUrl = new URL(dev.gateway.info.keeper)
  const createNonce = () => randomBytes(32)
  await uploadCar(
    { clock: systemClock, createNonce },
    { keeperUrl, root: cid, blocks, owner, market },
    signal,
  )
  return cid.toString()
}

/** The spec of a public deployment, as its provider would read it. */
export async function readSpec(at: TestMarket, cid: string): Promise<DeploymentSpec> {
  const { host, port } = at.dev.gateway
  const response = await fetch(`http://${host}:${port}/ipfs/${cid}?format=raw`)
  return parseDeployment(new Uint8Array(await response.arrayBuffer()))
}

/** Signs a spec with some fields changed, as its owner, and publishes it unsealed. @returns the callable CID */
export async function publishSpec(
  at: TestMarket,
  spec: DeploymentDraft,
  changes: Partial<DeploymentDraft> = {},
): Promise<string> {
  const signed = await signDeployment({ ...spec, ...changes }, at.dev.accounts.developer.account)
  return publish(at, formatDeployment(signed))
}
