import { activationPath, verbsOf } from '../../protocol/activation.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import type { ProtocolError } from '../../protocol/errors.ts'
import type { SetLimits } from '../../protocol/program-limits.ts'
import type { ProviderInfo } from '../../protocol/provider.ts'
import type { Deployment } from './deployments.ts'

export interface DescribeFacts {
  readonly info: ProviderInfo
  /** What it gets here. */
  readonly limits: SetLimits
  /** Why its calls would be refused by the provider's own rules now. */
  readonly refusal: ProtocolError | undefined
}

/** What anybody may know of a deployment: everything but its env and the key of its program. */
export function describeDeployment(
  deployment: Deployment,
  { info, limits, refusal }: DescribeFacts,
): Record<string, unknown> {
  const { cid, spec, programId, isSealed } = deployment
  const { ownerPays, origins } = spec.policy
  return {
    deployment: cid.toString(),
    programId,
    program: spec.program,
    encrypted: spec.encrypted?.cid ?? null,
    runtime: spec.runtime,
    params: spec.params,
    activations: describeActivations(spec),
    capabilities: spec.capabilities ?? [],
    // Whoever calls it should know that what it sends is kept.
    record: spec.record ?? null,
    limits: { ...limits, egress: spec.limits.egress },
    owner: spec.owner,
    payer: spec.payer,
    policy: {
      ownerPays: { ...ownerPays, maxUsdcPerDay: ownerPays.maxUsdcPerDay?.toString() ?? null },
      origins,
    },
    providers: spec.providers,
    sealed: isSealed,
    createdAt: spec.createdAt,
    price: info.price.toString(),
    refusal: refusal ? { code: refusal.code, detail: refusal.message, hint: refusal.hint } : null,
  }
}

/** With what is true where the manifest says nothing, and where each is called. */
function describeActivations({ activations = {} }: DeploymentSpec): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(activations).map(([name, activation]) => [
      name,
      {
        ...activation,
        verbs: verbsOf(activation),
        params: activation.params ?? {},
        path: `${activationPath}/${name}`,
      },
    ]),
  )
}
