import { randomBytes } from 'node:crypto'
import type { LocalAccount } from 'viem'
import { importFile } from '../../protocol/ipfs/import-file.ts'
import { proveKept, uploadCar } from '../../protocol/ipfs/upload-client.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { CommandContext } from '../command.ts'

export interface PublishOptions {
  readonly keeperUrl: URL
  readonly owner: LocalAccount
  readonly market: Market
}

/**
 * Uploads a file to a keeper, then fetches it back and compares: afterwards it does not depend on this machine.
 *
 * @returns its CID
 * @throws ProtocolError `keeper_unreachable`, `cid_mismatch`, `cid_not_found`, and what the keeper refuses with
 */
export async function publishFile(
  bytes: Uint8Array,
  { keeperUrl, owner, market }: PublishOptions,
  { clock, signal }: CommandContext,
): Promise<string> {
  const { cid, blocks } = await importFile(bytes)
  const createNonce = () => randomBytes(32)
  await uploadCar({ clock, createNonce }, { keeperUrl, root: cid, blocks, owner, market }, signal)
  await proveKept({ keeperUrl, root: cid, bytes }, signal)
  return cid.toString()
}
