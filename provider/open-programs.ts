import type { Address } from 'viem'
import { canAttest } from '../protocol/activation.ts'
import type { DeploymentSpec } from '../protocol/deployment.ts'
import { isDevChain } from '../protocol/dev-chain.ts'
import { type EgressOffer, explainNoEgress, isOffered } from '../protocol/egress.ts'
import { limits } from '../protocol/limits.ts'
import type { RuntimeKind } from '../protocol/program.ts'
import type { SetLimits } from '../protocol/program-limits.ts'
import type { Capacity } from './admission/places.ts'
import type { Attester } from './attest/attester.ts'
import type { Deployment } from './deployments/deployments.ts'
import { createOutputLines } from './logs/output-lines.ts'
import type { ProgramLog } from './logs/program-log.ts'
import { mayRun } from './may-run.ts'
import { createInstances } from './runtime/instances.ts'
import type { NativeOptions } from './runtime/native/native-runtime.ts'
import { openRuntimes } from './runtime/open-runtimes.ts'
import { createRedact } from './runtime/redact.ts'
import type { Death, Instance, ProgramFiles, Tier } from './runtime/runtime.ts'
import type { WorkerdDeps } from './runtime/workerd/workerd.ts'

/** The programs of a provider: which kinds it runs, for whom, and the ones that are warm. */
export interface Programs extends AsyncDisposable {
  readonly kinds: readonly RuntimeKind[]
  /** How many run or start. */
  readonly count: () => number
  /** How many died so often that they are not started now, and how often that was decided. */
  readonly resting: () => number
  readonly rests: () => number
  readonly tier: Tier
  /** What native programs run in, and what they do without there; absent where there are none. */
  readonly nativeEngine?: string | undefined
  /** Refuses what never runs here. @throws ProtocolError `runtime_unavailable` */
  readonly assertTakes: (spec: DeploymentSpec) => void
  /** Without walls, only the operator's own programs run, or anybody's where there is no real money. */
  readonly mayRun: (spec: DeploymentSpec) => boolean
  /** The most that programs may reach. */
  readonly egress: EgressOffer
  readonly allowsEgress: (spec: DeploymentSpec) => boolean
  /** What the processes of a deployment may use here, with what runs them. */
  readonly needsOf: (spec: DeploymentSpec) => Capacity
  /** @param load - Reads the program's files; called only where it does not run yet. */
  acquire(
    deployment: Deployment,
    load: (signal: AbortSignal) => Promise<ProgramFiles>,
    signal: AbortSignal,
    use?: ProgramUse,
  ): Promise<Instance>
  /** Ends what runs now. Nobody pays for the calls that are under way. */
  endAll(why: string): void
  /** Changes what all programs may hold together. */
  setCapacity(capacityMiB: number): void
}

/** What a process is for. A program that can attest does so in a process of its own, which gets nothing but activations. */
export type ProgramUse = 'pages' | 'activations'

/** By which a process is known that runs a deployment for this. */
export const processKey = ({ cid, spec }: Pick<Deployment, 'cid' | 'spec'>, use: ProgramUse): string =>
  use === 'activations' && canAttest(spec) ? `${cid} attest` : cid.toString()

/**
 * What the processes of a deployment may use: the program and what runs it, or as many of both as run at a time.
 *
 * @param overheadMiB - See `Runtime`.
 */
export function needsOf(
  { runtime, native }: Pick<DeploymentSpec, 'runtime' | 'native'>,
  { memoryMiB, concurrency }: Pick<SetLimits, 'memoryMiB' | 'concurrency'>,
  overheadMiB: number,
): Capacity {
  const isOne = runtime !== 'native' || native === 'http'
  const processes = isOne ? 1 : Math.min(limits.cgiProcessesMax, concurrency)
  return { memoryMiB: (memoryMiB + overheadMiB) * processes, cores: processes }
}

function describeDeath(death: Death): string {
  switch (death.kind) {
    case 'stopped':
      return `The program was stopped: ${death.why}.`
    case 'crashed':
      return `The program ended: ${death.message}`
    case 'timeout':
      return 'The program was stopped: a call took too long, and it no longer answered.'
    case 'out_of_pids':
      return 'The program ended: it needed more processes and threads than it may have.'
    case 'out_of_memory':
      return 'The program was stopped: it needed more memory than it may have.'
  }
}

export interface ProgramsOptions {
  readonly chainId: number
  readonly owner: Address
  readonly native?: NativeOptions | undefined
  readonly egress?: EgressOffer | undefined
  /** What all programs may hold together. */
  readonly capacityMiB: number
  /** How long a program rests at most that dies again and again; asked at each death. */
  readonly restMsMax?: (() => number) | undefined
  /** What a deployment gets here. */
  readonly limitsOf: (spec: DeploymentSpec) => SetLimits
}

/** Starts the runtimes and lets them attack their own walls before a stranger does. */
export async function openPrograms(
  {
    clock,
    log,
    network,
    programLog,
    attester,
  }: WorkerdDeps & {
    readonly programLog: Pick<ProgramLog, 'add'>
    readonly attester: Pick<Attester, 'sign'>
  },
  { chainId, owner, capacityMiB, restMsMax, limitsOf, native, egress = 'listed' }: ProgramsOptions,
  signal: AbortSignal,
): Promise<Programs> {
  await using starting = new AsyncDisposableStack()
  const { runtimes } = starting.use(await openRuntimes({ clock, log, network }, { native }, signal))
  const probes = await Promise.all(runtimes.map((runtime) => runtime.probe(signal)))
  const kinds = runtimes.map(({ kind }) => kind)
  const tiers = new Map(kinds.map((kind, index) => [kind, probes[index]?.tier]))
  const isContained = (kind: RuntimeKind) => tiers.get(kind) === 'sandbox'
  // Native programs have walls of their own: what those lack says nothing about the others.
  const tier = kinds.filter((kind) => kind !== 'native').every(isContained) ? 'sandbox' : 'process'
  if (!kinds.every(isContained))
    log.warn('walls_missing', { reasons: probes.flatMap(({ reasons }) => reasons) })
  const instances = starting.use(createInstances({ clock, log }, { runtimes, capacityMiB, restMsMax }))
  const overheads = new Map(runtimes.map(({ kind, overheadMiB }) => [kind, overheadMiB]))
  const needsHere = (spec: DeploymentSpec) => needsOf(spec, limitsOf(spec), overheads.get(spec.runtime) ?? 0)
  const parts = starting.move()
  return {
    kinds,
    count: () => instances.count,
    resting: () => instances.resting,
    rests: () => instances.rests,
    tier,
    nativeEngine: probes[kinds.indexOf('native')]?.engine,
    assertTakes: ({ runtime: kind, native, limits: { egress: asked } }) =>
      runtimes.find((runtime) => runtime.kind === kind)?.assertTakes?.({ native, egress: asked }),
    mayRun: ({ runtime: kind, owner: specOwner }) =>
      mayRun({
        kind,
        tier: tiers.get(kind),
        isOwn: specOwner === owner,
        isDevChain: isDevChain({ chainId }),
      }),
    egress,
    allowsEgress: ({ runtime, limits: { egress: asked } }) =>
      explainNoEgress(runtime, asked) === undefined && isOffered(asked, egress),
    needsOf: needsHere,
    acquire: (deployment, load, acquireSignal, use = 'pages') =>
      instances.acquire(
        processKey(deployment, use),
        async (loadSignal) => {
          const { spec, programId } = deployment
          const { env, params } = spec
          const program = await load(loadSignal)
          programLog.add(deployment.digest, { kind: 'event', text: 'The program is started.' })
          const redact = createRedact(env)
          const onOutput = createOutputLines((line) =>
            programLog.add(deployment.digest, () => ({ kind: 'output', text: redact(line) })),
          )
          return {
            kind: spec.runtime,
            program,
            options: {
              env,
              params,
              limits: { ...limitsOf(spec), egress: spec.limits.egress },
              onOutput,
              ...(use === 'activations' &&
                canAttest(spec) && { attest: (message) => attester.sign(programId, message) }),
            },
            onNotStarted: ({ message }) =>
              programLog.add(deployment.digest, {
                kind: 'event',
                text: redact(`It could not be started: ${message}`),
              }),
            onDeath: (death) =>
              programLog.add(deployment.digest, { kind: 'event', text: redact(describeDeath(death)) }),
            onRest: (restMs) =>
              programLog.add(deployment.digest, {
                kind: 'event',
                text: `It died several times in a short time, so it is not started again for ${restMs / 1000} s.`,
              }),
          }
        },
        acquireSignal,
        needsHere(deployment.spec),
      ),
    endAll: (why) => instances.endAll(why),
    setCapacity: (capacityMiB) => instances.setCapacity(capacityMiB),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  }
}
