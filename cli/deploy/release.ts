import { base64url } from '../../protocol/base/bytes.ts'
import { type DeploymentDraft, formatDeployment, signDeployment } from '../../protocol/deployment.ts'
import { type Egress, formatEgress } from '../../protocol/egress.ts'
import { encryptProgram } from '../../protocol/encrypted-program.ts'
import { parseContentCid } from '../../protocol/ipfs/cid.ts'
import { cidOfFile } from '../../protocol/ipfs/import-file.ts'
import type { NamedDeployment } from '../../protocol/ipfs/named-deployment.ts'
import { parseName } from '../../protocol/name.ts'
import { sealSpec } from '../../protocol/seal.ts'
import { formatUsdc } from '../../protocol/usdc.ts'
import type { CommandContext } from '../command.ts'
import { formatBytes } from '../format.ts'
import { keepBundleMap } from '../history/bundle-maps.ts'
import {
  addVersion,
  digestEnv,
  readVersions,
  type Version,
  type VersionKey,
} from '../history/version-file.ts'
import { deriveOwnKey } from '../keys/own-key.ts'
import { marketKey } from '../market/resolve-provider.ts'
import type { Writer } from '../market/write.ts'
import { changeName, type PointedName } from '../names/point-name.ts'
import type { ProgramIds } from '../project/packed-program.ts'
import type { BundleMap } from '../project/source-map.ts'
import { checkCoverage } from './coverage.ts'
import { programKeyOf } from './program-key.ts'
import { checkProvider } from './provider-answers.ts'
import { publishFile } from './publish.ts'
import type { DeployTarget } from './targets.ts'

/** A deployment that is about to be: all of it is known, and none of it published. */
export interface Release {
  /** The manifest's name. */
  readonly project: string
  readonly zip: Uint8Array
  /** Where it was bundled for this. */
  readonly sourceMap?: BundleMap | undefined
  readonly ids: ProgramIds
  /** Without the place of an encrypted program, which is known once it is encrypted. */
  readonly draft: DeploymentDraft
  readonly targets: readonly DeployTarget[]
  /** Where its secrets come from, for people. */
  readonly envOrigin: string
  readonly keeperUrl: URL
  /** Whether the spec is published unsealed. */
  readonly isPublic: boolean
  /** Whether the zip is published encrypted. */
  readonly isEncrypted: boolean
  readonly message: string | null
  readonly from: Version['from']
  /** A name of the owner's that is to stand for it. */
  readonly named?: NamedDeployment | undefined
}

/** Says what is about to be public, who will be able to read the secrets, and who pays, before any of it is done. */
export function announceRelease(release: Release, { note }: CommandContext): void {
  const { draft, ids, targets, envOrigin, keeperUrl, zip, isPublic, isEncrypted } = release
  const who = targets.map(({ name }) => name).join(', ')
  const { maxUsdcPerDay, maxCallsPerMinute } = draft.policy.ownerPays
  const secrecy = isEncrypted ? `encrypted, so that only ${who} can read it` : 'public'
  note(`Program ${ids.program} (${formatBytes(zip.byteLength)}), ${secrecy}, to ${keeperUrl.origin}.`)
  if (draft.record)
    note(
      `What callers send is kept for ${draft.record.seconds} s at each provider, so that they can run it again; their headers do not reach the program.`,
    )
  note(isPublic ? 'The spec is public, too.' : `The spec is sealed for ${who}.`)
  if (envOrigin !== '')
    note(`It holds ${envOrigin}: WHOEVER RUNS ${who.toUpperCase()} CAN READ THEM; nobody else can.`)
  note(`It may reach ${describeReach(draft.limits.egress)}.`)
  if (draft.payer !== 'caller') {
    const day = maxUsdcPerDay === null ? 'without a limit' : `up to ${formatUsdc(maxUsdcPerDay)} USDC a day`
    const minute = maxCallsPerMinute === null ? '' : ` and ${maxCallsPerMinute} calls a minute`
    note(`${draft.owner} pays for calls of anybody, ${day}${minute} at each provider, within its grants.`)
  }
  if (draft.terms) note(`It accepts the terms ${draft.terms}.`)
}

function describeReach(egress: Egress): string {
  if (egress === 'none') return 'nothing: no network'
  return egress === 'public' ? 'every public server, at the ports 80 and 443' : formatEgress(egress)
}

/**
 * Publishes a release: uploads program and spec, remembers the version, holds every provider that answers to the computed
 * ids, and prints how it is called.
 *
 * @throws ProtocolError what the keeper refuses with; `provider_answer_invalid`
 */
export async function publishRelease(
  release: Release,
  writer: Writer,
  context: CommandContext,
): Promise<void> {
  const { ids, targets, keeperUrl, isPublic, project, draft: unsigned } = release
  const key = { project, market: await marketKey(writer, context.signal), owner: unsigned.owner }
  // A history that cannot be read is told while nothing is published.
  await readVersions(key, context)
  const { market, account } = writer
  const publishing = {
    keeperUrl,
    owner: account,
    market: { chainId: market.chainId, escrow: market.contracts.escrow },
  }
  const { bytes, draft } = await encryptWhereAsked(release, writer)
  const spec = formatDeployment(await signDeployment(draft, account))
  const sealKeys = targets.map(({ provider }) => provider.sealKey)
  const specBytes = isPublic ? spec : await sealSpec(spec, sealKeys)
  await publishFile(bytes, publishing, context)
  const deployment = await publishFile(specBytes, publishing, context)
  context.note(`Published ${deployment}, and fetched it again to be sure.`)
  if (release.sourceMap) await keepBundleMap(ids.program, release.sourceMap, context)
  const { number } = await remember(key, { ...release, draft }, { deployment, writer }, context)
  const answers = await askTargets(targets, { ...ids, deployment, writer, draft }, context)
  const pointed = release.named && (await point(release.named, { deployment, targets, writer }, context))
  context.print(
    [
      `deployment  ${deployment}`,
      `program     ${ids.program}`,
      `programId   ${ids.programId}`,
      `version     ${number} of ${release.project}`,
      ...answers.map(({ name, url }) => `${name.padEnd(10)}  ${url}`),
      ...(pointed ? [pointed.text] : answers.slice(0, 1).map(({ url }) => `Try it: curl ${url}`)),
    ].join('\n'),
    {
      cid: deployment,
      ...ids,
      version: number,
      owner: draft.owner,
      sealed: !isPublic,
      encrypted: draft.encrypted?.cid ?? null,
      keeper: keeperUrl.href,
      policy: draft.policy,
      urls: Object.fromEntries(answers.map(({ name, url }) => [name, url])),
      providers: answers,
      ...(pointed && { name: pointed.facts }),
    },
  )
}

/** Points the name to the new deployment, and to its providers where it has some. */
async function point(
  named: NamedDeployment,
  {
    deployment,
    targets,
    writer,
  }: { readonly deployment: string; readonly targets: readonly DeployTarget[]; readonly writer: Writer },
  context: CommandContext,
): Promise<PointedName | undefined> {
  const providers = targets.length === 0 ? named.providers : targets.map(({ name }) => parseName(name))
  const wanted = { cid: parseContentCid(deployment), providers }
  try {
    // Whoever says --name has been asked.
    return await changeName({ named, wanted, writer, flags: { yes: true } }, context)
  } catch (error) {
    context.note(
      `The deployment is there, and ${named.name} is not pointed to it: khachapuri name set ${named.name} ${deployment}`,
    )
    throw error
  }
}

/** What goes to the keeper as the program, and the spec that says where it is. */
async function encryptWhereAsked(
  { zip, ids: { program }, draft, isEncrypted }: Release,
  { account }: Writer,
): Promise<{ bytes: Uint8Array; draft: DeploymentDraft }> {
  if (!isEncrypted) return { bytes: zip, draft }
  const key = await programKeyOf(account, program)
  const bytes = encryptProgram(zip, { program, key })
  const cid = (await cidOfFile(bytes)).toString()
  return { bytes, draft: { ...draft, encrypted: { cid, key: base64url.encode(key) } } }
}

async function remember(
  key: VersionKey,
  { zip, ids, draft, targets, keeperUrl, isPublic, message, from }: Release,
  { deployment, writer }: { readonly deployment: string; readonly writer: Writer },
  context: CommandContext,
): Promise<Version> {
  const version = {
    deployment,
    programId: ids.programId,
    zipBytes: zip.byteLength,
    spec: draft,
    env: digestEnv(draft.env, await envDigestKeyOf(key.project, writer)),
    isPublic,
    encryptedCid: draft.encrypted?.cid ?? null,
    providers: targets.map(({ name, provider, info }) => ({
      name,
      address: provider.address,
      priceUsdc: info?.price ?? null,
    })),
    keeper: keeperUrl.href,
    message,
    from,
  }
  return addVersion(key, version, context)
}

/** What the digests of a project's env in its versions are made with. */
export function envDigestKeyOf(project: string, { account }: Pick<Writer, 'account'>): Promise<Uint8Array> {
  return deriveOwnKey(account, `env digests ${project}`)
}

/** Holds every provider that answers to the computed ids, and says where a grant is missing. */
async function askTargets(
  targets: readonly DeployTarget[],
  facts: ProgramIds & { deployment: string; writer: Writer; draft: DeploymentDraft },
  context: CommandContext,
): Promise<readonly { name: string; url: string; checked: boolean; grant: string | null }[]> {
  const { deployment, writer, draft } = facts
  const answers = []
  for (const { provider, name, url, info } of targets) {
    if (info) await checkProvider({ name, url }, facts, context.signal)
    const needsGrant = info && draft.payer !== 'caller'
    const grant = needsGrant ? await checkCoverage(provider, { writer, info }, context) : null
    answers.push({ name, url: new URL(`/${deployment}/`, url).href, checked: info !== undefined, grant })
  }
  return answers
}
