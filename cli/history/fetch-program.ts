import type { LocalAccount } from 'viem'
import { decryptProgram, encryptionOverheadBytes } from '../../protocol/encrypted-program.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { fetchKept } from '../../protocol/ipfs/fetch-kept.ts'
import { cidOfFile } from '../../protocol/ipfs/import-file.ts'
import { limits } from '../../protocol/limits.ts'
import { programKeyOf } from '../deploy/program-key.ts'
import type { Version } from './version-file.ts'

/**
 * The zip of a version, from a keeper, verified against its CID.
 *
 * @param openAccount - Asked where the zip is encrypted.
 * @throws ProtocolError `cid_not_found`, `cid_mismatch`, `content_unreachable`; `seal_broken` for another account's
 */
export async function fetchProgram(
  { spec: { program }, encryptedCid }: Version,
  { keeperUrl, openAccount }: { readonly keeperUrl: URL; readonly openAccount: () => Promise<LocalAccount> },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const fetch = (cid: string, bytesMax: number) =>
    fetchKept({ keeperUrl, root: parseContentCid(cid), bytesMax }, signal)
  if (encryptedCid === null) return fetch(program, limits.zipBytesMax)
  const bytes = await fetch(encryptedCid, limits.zipBytesMax + encryptionOverheadBytes)
  const zip = decryptProgram(bytes, { program, key: await programKeyOf(await openAccount(), program) })
  const found = (await cidOfFile(zip)).toString()
  if (found === program) return zip
  throw new ProtocolError('cid_mismatch', `What ${encryptedCid} holds is ${found}, and not ${program}.`, {
    hint: 'Deploy the program again from its source.',
  })
}
