import type { Hex } from 'viem'
import { type DeploymentSpec, parseDeployment, verifyDeployment } from '../../protocol/deployment.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { cidOfRawDigest, digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { fetchKept } from '../../protocol/ipfs/fetch-kept.ts'
import type { ZipEntry } from '../../protocol/ipfs/pack-zip.ts'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { limits } from '../../protocol/limits.ts'
import { hashProgram, type ProgramId } from '../../protocol/program.ts'
import { parseSealed } from '../../protocol/seal.ts'
import type { Market } from '../../protocol/typed-data.ts'

export interface FetchedDeployment {
  /** Its CID. */
  readonly deployment: string
  readonly spec: DeploymentSpec
  readonly programId: ProgramId
}

/**
 * The spec that a receipt names, from a keeper, verified against its CID and its owner's signature.
 *
 * @throws ProtocolError `replay_impossible` for what nobody can run again; `cid_not_found`, `cid_mismatch`, `content_unreachable`,
 *   `deployment_invalid`, `deployment_wrong_chain`, `signature_invalid`
 */
export async function fetchDeployment(
  digest: Hex,
  { keeperUrl, market }: { readonly keeperUrl: URL; readonly market: Market },
  signal: AbortSignal,
): Promise<FetchedDeployment> {
  // A spec is one raw block, sealed or not.
  const root = cidOfRawDigest(Buffer.from(digest.slice(2), 'hex'))
  const bytes = await fetchKept({ keeperUrl, root, bytesMax: limits.sealedSpecBytesMax }, signal)
  if (parseSealed(bytes)) throw impossible('Its spec is sealed, so only its providers can run it.')
  const spec = parseDeployment(bytes)
  await verifyDeployment(spec, market)
  if (spec.runtime !== 'wasm')
    throw impossible(
      `A ${spec.runtime} program is not deterministic: it may answer otherwise with nobody lying.`,
    )
  if (!spec.record)
    throw impossible(
      'Its calls are not recorded: headers that the receipt does not bind may have changed the answer.',
    )
  const programDigest = digestOfCid(parseContentCid(spec.program))
  return { deployment: root.toString(), spec, programId: hashProgram({ programDigest, params: spec.params }) }
}

/** The files of its program, verified against the CID of its zip. @throws ProtocolError as `fetchDeployment`; `program_invalid` */
export async function fetchFiles(
  { program }: Pick<DeploymentSpec, 'program'>,
  { keeperUrl }: { readonly keeperUrl: URL },
  signal: AbortSignal,
): Promise<readonly ZipEntry[]> {
  const root = parseContentCid(program)
  return readZip(await fetchKept({ keeperUrl, root, bytesMax: limits.zipBytesMax }, signal), signal)
}

const impossible = (why: string) =>
  new ProtocolError('replay_impossible', `The call cannot be run again. ${why}`, {
    hint: 'Deploy a wasm program with --public --record 7d, or have several providers vote: "khachapuri swarm call".',
  })
