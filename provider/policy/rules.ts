import type { Clock } from '../../protocol/base/clock.ts'
import type { Log } from '../../protocol/base/log.ts'
import type { Outcome } from '../../protocol/call.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import {
  programLimits,
  resolveLimits,
  type SetLimits,
  type SomeLimits,
} from '../../protocol/program-limits.ts'
import type { Capacity } from '../admission/places.ts'
import type { Deployment } from '../deployments/deployments.ts'
import type { ProgramLog } from '../logs/program-log.ts'
import { changePolicy, type PolicyChange } from './change-policy.ts'
import { boundLimits, decideCid, decidePolicy, pausedError } from './decide-policy.ts'
import { type FaultPause, openFaultPauses } from './fault-pauses.ts'
import { createFaultRates } from './fault-rates.ts'
import type { Policy } from './policy.ts'
import { readPolicy, writePolicy } from './policy-file.ts'

/** The rules of a provider while it runs: what it refuses, and whom it has paused. Disposal waits until that is written. */
export interface Rules extends AsyncDisposable {
  readonly policy: Policy
  /** What all programs together may use. */
  readonly capacity: Capacity
  /** What it gives less of than the table. */
  readonly maxima: SomeLimits
  /** @throws ProtocolError for a CID that is refused whatever is behind it */
  assertCid(cid: string): void
  /** The way of each call. @throws ProtocolError as `decidePolicy`, or `deployment_paused` */
  assertRuns(deployment: Deployment): void
  /** Why a deployment would be refused now; undefined where it runs. */
  refusalOf(deployment: Deployment): ProtocolError | undefined
  /** What a deployment gets. */
  limitsOf(spec: Deployment['spec']): SetLimits
  /** A call has ended. Pauses its deployment where too many fail. */
  countCall(deployment: Deployment, outcome: Outcome): void
  /** Holds at once and from the next start on. */
  change(change: PolicyChange): Promise<void>
  /** Reads the file again, after somebody else has changed it. @throws ProtocolError `config_invalid`; the old rules stay */
  reload(): Promise<void>
  /** Deployments that are paused for their faults. */
  pausedForFaults(): readonly FaultPause[]
}

export interface RulesDeps {
  readonly clock: Clock
  readonly log: Log
  readonly programLog: Pick<ProgramLog, 'add'>
  /** Hears of each change, once it holds. */
  readonly onChange: (rules: Rules) => void
  /** A deployment that is at hand. */
  readonly peek: (cid: string) => Deployment | undefined
}

/** @throws ProtocolError `config_invalid` */
export async function openRules(
  { clock, log, programLog, onChange, peek }: RulesDeps,
  dir: string,
): Promise<Rules> {
  let policy = await readPolicy(dir)
  let verdicts = new WeakMap<Deployment, { readonly refusal: ProtocolError | undefined }>()
  let bounds = new WeakMap<Deployment['spec'], SetLimits>()
  const rates = createFaultRates({ clock })
  const pauses = await openFaultPauses({ log }, dir)

  function take(next: Policy): void {
    policy = next
    verdicts = new WeakMap()
    bounds = new WeakMap()
    onChange(rules)
  }

  function verdictOf(deployment: Deployment): ProtocolError | undefined {
    let verdict = verdicts.get(deployment)
    if (!verdict) {
      const { cid, programCid, specDigest, spec } = deployment
      const facts = { cid: cid.toString(), program: programCid.toString(), specDigest, spec }
      verdict = { refusal: decidePolicy(policy, facts) }
      verdicts.set(deployment, verdict)
    }
    return verdict.refusal
  }

  function pauseOf({ specDigest }: Deployment): ProtocolError | undefined {
    const pause = pauses.get(specDigest)
    if (!pause) return undefined
    const leftMs = pause.untilMs - clock.nowMs()
    if (leftMs > 0) return pausedError(pause.reason, Math.ceil(leftMs / 1000))
    pauses.delete(specDigest)
    return undefined
  }

  const rules: Rules = {
    get policy() {
      return policy
    },
    get capacity() {
      const { capacityMiB, capacityCores } = policy
      const unbounded = Number.POSITIVE_INFINITY
      return { memoryMiB: capacityMiB ?? unbounded, cores: capacityCores ?? unbounded }
    },
    get maxima() {
      const memoryMiB = Math.min(
        policy.limits.memoryMiB ?? programLimits.memoryMiB.max,
        rules.capacity.memoryMiB - limits.runtimeMemoryMiB,
      )
      return { ...policy.limits, ...(memoryMiB < programLimits.memoryMiB.max && { memoryMiB }) }
    },
    assertCid(cid) {
      const refusal = decideCid(policy, cid)
      if (refusal) throw refusal
    },
    assertRuns(deployment) {
      const refusal = rules.refusalOf(deployment)
      if (refusal) throw refusal
    },
    refusalOf: (deployment) => verdictOf(deployment) ?? pauseOf(deployment),
    limitsOf(spec) {
      const known = bounds.get(spec)
      if (known) return known
      const bounded = boundLimits(resolveLimits(spec.limits), policy.limits)
      bounds.set(spec, bounded)
      return bounded
    },
    countCall({ cid, digest, specDigest }, outcome) {
      const rule = policy.faults
      if (!rule || outcome === 'platform_fault' || outcome === 'payment_failed') return
      const isFault = outcome !== 'answered' && outcome !== 'caller_gone' && outcome !== 'outvoted'
      const { calls, faults } = rates.add(specDigest, { isFault, windowMs: rule.windowSeconds * 1000 })
      if (calls < rule.callsMin || faults * 100 <= calls * rule.faultPercentMax) return
      rates.forget(specDigest)
      const reason = `${faults} of its last ${calls} calls failed`
      pauses.set(specDigest, {
        cid: cid.toString(),
        reason,
        untilMs: clock.nowMs() + rule.pauseSeconds * 1000,
      })
      const text = `The provider paused the deployment for ${rule.pauseSeconds} s: ${reason}.`
      programLog.add(digest, { kind: 'event', text })
      log.warn('deployment_paused', { deployment: cid.toString(), faults, calls })
    },
    async change(change) {
      const facts = { nowMs: clock.nowMs(), specOf: (cid: string) => peek(cid)?.specDigest }
      const next = changePolicy(policy, change, facts)
      await writePolicy(dir, next)
      take(next)
      tellOwner(change)
      if (change.kind !== 'resume') return
      const deployment = peek(change.cid)
      if (!deployment) return
      pauses.delete(deployment.specDigest)
      rates.forget(deployment.specDigest)
    },
    async reload() {
      take(await readPolicy(dir))
    },
    pausedForFaults() {
      const nowMs = clock.nowMs()
      return [...pauses.values()].filter(({ untilMs }) => untilMs > nowMs)
    },
    [Symbol.asyncDispose]: () => pauses[Symbol.asyncDispose](),
  }

  function tellOwner(change: PolicyChange): void {
    if (change.kind !== 'pause' && change.kind !== 'resume') return
    const deployment = peek(change.cid)
    if (!deployment) return
    const why = change.kind === 'pause' && change.reason !== '' ? `: ${change.reason}` : ''
    const text = `The provider ${change.kind === 'pause' ? 'paused' : 'resumed'} the deployment${why}.`
    programLog.add(deployment.digest, { kind: 'event', text })
  }

  return rules
}
