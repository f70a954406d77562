import type { Hex } from 'viem'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import {
  limitsBeyond,
  type SetLimits,
  type SettableLimitName,
  type SomeLimits,
  settableLimitNames,
} from '../../protocol/program-limits.ts'
import type { EgressKind, Policy } from './policy.ts'

/** What a rule can be about, of one deployment. */
export interface PolicyFacts {
  readonly cid: string
  readonly program: string
  readonly specDigest: Hex
  readonly spec: Pick<DeploymentSpec, 'owner' | 'runtime' | 'limits'>
}

/** Whether a CID is refused, before anything of it is fetched. */
export function decideCid({ deny, paused }: Policy, cid: string): ProtocolError | undefined {
  if (deny.cids.includes(cid)) return denied(cid)
  const pause = paused.find((each) => each.cid === cid)
  return pause && pausedError(pause.reason)
}

/**
 * Whether a deployment is refused, and why. What is denied comes first, then what is not allowed, then pauses and limits.
 *
 * @returns the refusal, or undefined where it may run.
 */
export function decidePolicy(policy: Policy, facts: PolicyFacts): ProtocolError | undefined {
  const { allow, deny, paused } = policy
  const { cid, program, specDigest, spec } = facts
  const { owner, runtime } = spec
  const isNamed = (cids: readonly string[]) => cids.includes(cid) || cids.includes(program)

  if (isNamed(deny.cids) || deny.specs.includes(specDigest)) return denied(cid)
  if (deny.owners.includes(owner)) return ownerDenied(owner)
  const isListed = allow.owners.length + allow.cids.length > 0
  if (isListed && !allow.owners.includes(owner) && !isNamed(allow.cids)) return ownerDenied(owner)

  if (isExcluded(runtime, allow.runtimes, deny.runtimes)) return runtimeDenied(runtime)
  const egress = egressOf(spec.limits.egress)
  if (isExcluded(egress, allow.egress, deny.egress)) return egressRefused(egress)

  const pause = paused.find((each) => each.cid === cid || each.spec === specDigest)
  if (pause) return pausedError(pause.reason)
  return decideLimits(policy.limits, spec.limits)
}

function isExcluded<T>(one: T, allowed: readonly T[], deniedOnes: readonly T[]): boolean {
  return deniedOnes.includes(one) || (allowed.length > 0 && !allowed.includes(one))
}

export function egressOf(egress: DeploymentSpec['limits']['egress']): EgressKind {
  return typeof egress === 'string' ? egress : 'listed'
}

/** A deployment gets what it asks for, or nothing: less would break it where its owner does not look. */
function decideLimits(maxima: SomeLimits, asked: SomeLimits): ProtocolError | undefined {
  const beyond = limitsBeyond(maxima, asked)
  if (beyond.length === 0) return undefined
  const words = beyond.map((name) => `${name} ${asked[name]} (at most ${maxima[name]})`)
  return new ProtocolError(
    'limits_too_high',
    `The deployment asks for more than this provider gives: ${words.join(', ')}.`,
    {
      hint: 'Deploy it with less, or call another provider; "khachapuri limits --provider <name>" shows what one gives.',
      details: { limits: Object.fromEntries(beyond.map((name) => [name, maxima[name]])) },
    },
  )
}

/** What a deployment gets here: what it did not say is no more than the provider gives. */
export function boundLimits(resolved: SetLimits, maxima: SomeLimits): SetLimits {
  const bounded = settableLimitNames.map((name) => [
    name,
    Math.min(resolved[name], maxima[name] ?? resolved[name]),
  ])
  return Object.fromEntries(bounded) as Record<SettableLimitName, number>
}

const hint = 'Call another provider, or ask the operator of this one.'

function denied(cid: string): ProtocolError {
  return new ProtocolError('deployment_denied', `This provider does not run ${cid}.`, { hint })
}

function ownerDenied(owner: string): ProtocolError {
  return new ProtocolError('owner_denied', `This provider does not run deployments of ${owner}.`, { hint })
}

function runtimeDenied(runtime: string): ProtocolError {
  return new ProtocolError('runtime_denied', `This provider does not run "${runtime}" programs for others.`, {
    hint,
  })
}

function egressRefused(egress: EgressKind): ProtocolError {
  return new ProtocolError('egress_refused', `This provider runs no programs with egress "${egress}".`, {
    hint,
  })
}

export function pausedError(reason: string, retryAfterSeconds?: number): ProtocolError {
  const why = reason === '' ? '' : `: ${reason}`
  return new ProtocolError('deployment_paused', `The deployment is paused here${why}.`, {
    hint: 'Call another provider, or come back later; its owner finds why in "khachapuri logs".',
    ...(retryAfterSeconds !== undefined && { details: { retryAfterSeconds } }),
  })
}
