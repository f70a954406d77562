import type { Address } from 'viem'
import type { Clock } from '../protocol/base/clock.ts'
import type { Log } from '../protocol/base/log.ts'
import type { DeploymentSpec } from '../protocol/deployment.ts'
import { isDevChain } from '../protocol/dev-chain.ts'
import type { RuntimeKind } from '../protocol/program.ts'
import type { Deployment } from './deployments/deployments.ts'
import { createInstances } from './runtime/instances.ts'
import { openRuntimes } from './runtime/open-runtimes.ts'
import type { Instance, ProgramFiles, Tier } from './runtime/runtime.ts'

/** The programs of a provider: which kinds it runs, for whom, and the ones that are warm. */
export interface Programs extends AsyncDisposable {
  readonly kinds: readonly RuntimeKind[]
  readonly tier: Tier
  /** Without walls, only the operator's own programs run, or anybody's where there is no real money. */
  readonly mayRun: (spec: DeploymentSpec) => boolean
  /** @param load - Reads the program's files; called only where it does not run yet. */
  acquire(
    deployment: Deployment,
    load: (signal: AbortSignal) => Promise<ProgramFiles>,
    signal: AbortSignal,
  ): Promise<Instance>
}

/** Starts the runtimes and lets them attack their own walls before a stranger does. */
export async function openPrograms(
  { clock, log }: { clock: Clock; log: Log },
  { chainId, owner }: { chainId: number; owner: Address },
  signal: AbortSignal,
): Promise<Programs> {
  await using starting = new AsyncDisposableStack()
  const { runtimes } = starting.use(await openRuntimes({ clock, log }, {}, signal))
  const probes = await Promise.all(runtimes.map((runtime) => runtime.probe(signal)))
  const tier = probes.every((probe) => probe.tier === 'sandbox') ? 'sandbox' : 'process'
  if (tier === 'process') log.warn('walls_missing', { reasons: probes.flatMap(({ reasons }) => reasons) })
  const instances = starting.use(createInstances({ clock, log }, { runtimes }))
  const parts = starting.move()
  return {
    kinds: runtimes.map(({ kind }) => kind),
    tier,
    mayRun: (spec) => tier === 'sandbox' || isDevChain({ chainId }) || spec.owner === owner,
    acquire: (deployment, load, acquireSignal) =>
      instances.acquire(
        deployment.cid.toString(),
        async (loadSignal) => {
          const { spec } = deployment
          const { env, params } = spec
          return {
            kind: spec.runtime,
            program: await load(loadSignal),
            options: { env, params, limits: spec.limits },
          }
        },
        acquireSignal,
      ),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
