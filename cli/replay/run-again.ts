import type { Hex } from 'viem'
import { assert } from '../../protocol/base/assert.ts'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { createLog } from '../../protocol/base/log.ts'
import type { CallInput } from '../../protocol/call-record.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import type { AnswerDigest } from '../../protocol/fraud-report.ts'
import type { ZipEntry } from '../../protocol/ipfs/pack-zip.ts'
import { limits } from '../../protocol/limits.ts'
import { resolveLimits } from '../../protocol/program-limits.ts'
import { createDnsLookup } from '../../provider/egress/lookup-names.ts'
import { toRecordedHeaders } from '../../provider/http/program-headers.ts'
import { type Answer, collectAnswer } from '../../provider/runtime/collect-answer.ts'
import { openRuntimes } from '../../provider/runtime/open-runtimes.ts'
import { toCallError } from '../../provider/runtime/runtime.ts'
import type { CommandContext } from '../command.ts'

export interface Rerun {
  readonly spec: DeploymentSpec
  readonly files: readonly ZipEntry[]
  readonly input: CallInput
  readonly callId: Hex
  readonly startedMs: number
}

/**
 * Runs a recorded call again, twice, in the sandbox in which a provider runs it: who accuses somebody of a lie should have seen
 * the same answer both times.
 *
 * @throws ProtocolError `replay_inconclusive` where the program does not answer here, or not alike; `sandbox_unavailable`,
 *   `runtime_unavailable`, `program_…` where it does not start
 */
export async function runAgain(
  { spec, files, input, callId, startedMs }: Rerun,
  { clock, signal }: Pick<CommandContext, 'clock' | 'signal'>,
): Promise<AnswerDigest> {
  await using opened = await openRuntimes(
    {
      clock,
      log: createLog({ level: 'error' }),
      network: { lookup: createDnsLookup(), allowPrivate: false },
    },
    { zygotes: 1 },
    signal,
  )
  const runtime = opened.runtimes.find(({ kind }) => kind === spec.runtime)
  assert(runtime, 'every machine runs wasm')
  // Time stands still in it, so a slower machine may take longer for the same answer.
  const patience = { timeoutMs: limits.callTimeoutMsMax, cpuMs: limits.callTimeoutMsMax }
  const { env, params, entry } = spec
  await using instance = await runtime.start(
    { files, entry },
    { env, params, limits: { ...resolveLimits(spec.limits), ...patience } },
    signal,
  )
  const { method, target, body } = input
  const request = {
    ...{ method, target, rawHeaders: toRecordedHeaders({ callId, startedMs }) },
    ...(body.byteLength > 0 && { body: Buffer.from(body) }),
  }
  const [first, second] = [
    digestAnswer(await collectAnswer(instance, request)),
    digestAnswer(await collectAnswer(instance, request)),
  ]
  if (first.status === second.status && first.responseDigest === second.responseDigest) return first
  throw inconclusive('it gave two answers to the same call, so it is not deterministic.')
}

function digestAnswer({ status, body, outcome }: Answer): AnswerDigest {
  if (outcome.kind === 'answered') return { status, responseDigest: toHex(sha256(body)) }
  throw inconclusive(`it did not answer on this machine: ${toCallError(outcome).message}`)
}

const inconclusive = (why: string) =>
  new ProtocolError('replay_inconclusive', `The program was run again, and ${why}`, {
    hint: 'This says nothing about the provider. Try it on another machine.',
  })
