import type { KeyObject } from 'node:crypto'
import type { Address, Hex } from 'viem'
import { toHex } from '../../protocol/base/bytes.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import {
  type DeploymentSpec,
  hashDraft,
  parseDeployment,
  verifyDeployment,
} from '../../protocol/deployment.ts'
import { formatEgress } from '../../protocol/egress.ts'
import { decryptProgram, encryptionOverheadBytes } from '../../protocol/encrypted-program.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { type CID, digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'
import { cidOfFile } from '../../protocol/ipfs/import-file.ts'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { limits } from '../../protocol/limits.ts'
import { hashProgram, type ProgramId, type RuntimeKind } from '../../protocol/program.ts'
import { openSeal, parseSealed } from '../../protocol/seal.ts'
import type { Market } from '../../protocol/typed-data.ts'
import type { ProgramFiles } from '../runtime/runtime.ts'
import { assertBound } from './assert-bound.ts'

/** A deployment that this provider has read, opened and verified. */
export interface Deployment {
  readonly cid: CID
  /** SHA-256 in its CID: its name in passes and receipts. */
  readonly digest: Hex
  readonly isSealed: boolean
  readonly spec: DeploymentSpec
  /** SHA-256 of what the owner signed, whatever the CID. */
  readonly specDigest: Hex
  readonly programCid: CID
  readonly programId: ProgramId
}

export interface Deployments {
  /** The deployment if it is at hand: the way of nearly every call. */
  peek(cid: string): Deployment | undefined
  /**
   * Fetches, opens and verifies a deployment; many callers of one CID share the work.
   *
   * @throws ProtocolError `cid_malformed`, `cid_not_found`, `cid_mismatch`, `content_unreachable`,
   * `content_too_large`, `deployment_invalid`, `deployment_wrong_chain`, `deployment_not_for_provider`,
   * `seal_broken`, `signature_invalid`, `runtime_unavailable`, `egress_refused`, `sandbox_unavailable`
   */
  read(cid: string, signal: AbortSignal): Promise<Deployment>
  /** Fetches and unpacks its program, under the zip's strict rules. @throws ProtocolError `program_invalid` and as `read`. */
  readProgram(deployment: Deployment, signal: AbortSignal): Promise<ProgramFiles>
}

export interface DeploymentsDeps {
  /** Verified bytes of a file by its CID, from the own store or from others. */
  readonly fetchFile: (cid: CID, options: { bytesMax: number }, signal: AbortSignal) => Promise<Uint8Array>
  /** Keeps what was fetched for as long as it may be called. */
  readonly keep: (root: CID, owner: Address) => Promise<void>
}

export interface DeploymentsOptions {
  readonly market: Market
  readonly provider: Address
  readonly sealKeys: ReadonlyMap<string, KeyObject>
  readonly runtimes: readonly RuntimeKind[]
  /** Refuses what its runtimes never take. @throws ProtocolError `runtime_unavailable` */
  readonly assertTakes: (spec: DeploymentSpec) => void
  /** Whether the walls of this machine are good enough for it. */
  readonly mayRun: (spec: DeploymentSpec) => boolean
  /** Whether its operator lets programs reach what it asks for. */
  readonly allowsEgress: (spec: DeploymentSpec) => boolean
  /** Throws for a CID that is not even to be fetched. */
  readonly assertCid: (cid: string) => void
}

export function createDeployments(
  { fetchFile, keep }: DeploymentsDeps,
  options: DeploymentsOptions,
): Deployments {
  const known = new Map<string, Deployment>()
  const loading = new Map<string, Promise<Deployment>>()

  async function load(text: string): Promise<Deployment> {
    const cid = parseContentCid(text)
    options.assertCid(cid.toString())
    const signal = AbortSignal.timeout(limits.contentFetchTimeoutMs)
    const bytes = await fetchFile(cid, { bytesMax: limits.sealedSpecBytesMax }, signal)
    const sealed = parseSealed(bytes)
    const spec = parseDeployment(sealed ? await openSeal(sealed, options.sealKeys) : bytes)
    await verifyDeployment(spec, options.market)
    if (sealed && spec.record) throw sealedRecord()
    assertForUs(spec, options)
    const programCid = parseContentCid(spec.program)
    return {
      cid,
      digest: toHex(digestOfCid(cid)),
      isSealed: sealed !== undefined,
      spec,
      specDigest: hashDraft(spec),
      programCid,
      programId: hashProgram({ programDigest: digestOfCid(programCid), params: spec.params }),
    }
  }

  function remember(text: string, deployment: Deployment): void {
    known.set(text, deployment)
    const oldest = known.size > limits.deploymentsCachedMax ? known.keys().next().value : undefined
    if (oldest !== undefined) known.delete(oldest)
  }

  return {
    peek: (cid) => known.get(cid),
    async read(text, signal) {
      const deployment = known.get(text)
      if (deployment) return deployment
      let pending = loading.get(text)
      if (!pending) {
        if (loading.size >= limits.deploymentsLoadingMax) throw busy()
        pending = load(text)
          .then((loaded) => {
            remember(text, loaded)
            return loaded
          })
          .finally(() => loading.delete(text))
        loading.set(text, pending)
      }
      return raceSignal(pending, signal)
    },
    async readProgram({ cid, programCid, spec }, signal) {
      const { encrypted } = spec
      const keptCid = encrypted ? parseContentCid(encrypted.cid) : programCid
      const bytesMax = limits.zipBytesMax + (encrypted ? encryptionOverheadBytes : 0)
      const bytes = await fetchFile(keptCid, { bytesMax }, signal)
      const zip = encrypted ? await openProgram(bytes, { key: encrypted.key, programCid }) : bytes
      const files = await readZip(zip, signal)
      // Not before somebody pays for a call of it: what strangers only ask about is not kept for them.
      for (const root of [cid, keptCid]) await keep(root, spec.owner)
      const { entry, native, activations, capabilities } = spec
      assertBound(spec, files)
      return { files, entry, native, activations, capabilities }
    },
  }
}

/**
 * The plain zip, in memory only. What runs is what the programId says, whoever had the key to encrypt something else.
 *
 * @throws ProtocolError `seal_broken`, `cid_mismatch`
 */
async function openProgram(
  bytes: Uint8Array,
  { key, programCid }: { readonly key: string; readonly programCid: CID },
): Promise<Uint8Array> {
  const program = programCid.toString()
  const zip = decryptProgram(bytes, { program, key: Buffer.from(key, 'base64url') })
  const found = await cidOfFile(zip)
  if (found.equals(programCid)) return zip
  throw new ProtocolError('cid_mismatch', `The encrypted program is ${found}, and not ${program}.`, {
    hint: 'Deploy the program again.',
    details: { cid: program, found: found.toString() },
  })
}

/** Nobody but its providers can read it, so nobody could run its calls again: what callers send would be kept for nothing. */
const sealedRecord = () =>
  new ProtocolError('deployment_invalid', 'A sealed deployment asks for its calls to be recorded.', {
    hint: 'Deploy it with --public, or without --record.',
  })

function assertForUs(spec: DeploymentSpec, options: DeploymentsOptions): void {
  const { provider, runtimes, assertTakes, mayRun, allowsEgress } = options
  if (spec.providers.length > 0 && !spec.providers.includes(provider)) {
    throw new ProtocolError(
      'deployment_not_for_provider',
      `The owner did not choose ${provider} to run it.`,
      {
        hint: 'Call one of its own providers, or deploy it again with --provider naming this one.',
      },
    )
  }
  if (!runtimes.includes(spec.runtime)) {
    throw new ProtocolError('runtime_unavailable', `This provider does not run "${spec.runtime}" programs.`, {
      hint: `It runs: ${runtimes.join(', ')}.`,
    })
  }
  assertTakes(spec)
  if (!allowsEgress(spec)) {
    throw new ProtocolError(
      'egress_refused',
      `This provider does not let ${spec.runtime} programs reach: ${formatEgress(spec.limits.egress)}.`,
      { hint: 'Its /_/info says what it offers: deploy with less egress, or to another provider.' },
    )
  }
  if (!mayRun(spec)) {
    throw new ProtocolError(
      'sandbox_unavailable',
      'This provider has no sandbox, so it runs its own programs only.',
      {
        hint: 'Call a provider whose /_/info says "tier": "sandbox".',
      },
    )
  }
}

function busy(): ProtocolError {
  return new ProtocolError('provider_busy', 'The provider is fetching as many deployments as it may.', {
    hint: 'Send it again in a moment.',
  })
}
