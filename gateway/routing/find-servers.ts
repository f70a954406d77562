import type { Address } from 'viem'
import type { Clock } from '../../protocol/base/clock.ts'
import { createRecent } from '../../protocol/base/recent.ts'
import { raceSignal } from '../../protocol/base/signal.ts'
import { parseDeployment } from '../../protocol/deployment.ts'
import { isProtocolError, ProtocolError } from '../../protocol/errors.ts'
import type { CID } from '../../protocol/ipfs/cid.ts'
import { limits } from '../../protocol/limits.ts'
import type { ProviderName } from '../../protocol/name.ts'
import { parseSealed, parseSealKey } from '../../protocol/seal.ts'

/** Who may run a deployment, as its spec says. */
export type Serving =
  | { readonly kind: 'anybody' }
  | { readonly kind: 'accounts'; readonly accounts: readonly Address[] }
  /** Of a sealed spec nobody else can read more than whose keys open it. */
  | { readonly kind: 'keys'; readonly kids: readonly string[] }

/** Finds out who may run a deployment. */
export interface ServingReader {
  /** @throws `deployment_unserved` where the spec cannot be found, `deployment_invalid` where it is none */
  read(cid: CID, signal: AbortSignal): Promise<Serving>
}

export interface ServingDeps {
  readonly clock: Clock
  /** The bytes of a spec, wherever they are. */
  readonly fetchSpec: (cid: CID, signal: AbortSignal) => Promise<Uint8Array>
}

type Kept = { serving: Serving } | { error: ProtocolError; untilMs: number }

/** Specs never change, so what was read once holds; what was not found is looked for again after a while. */
export function createServingReader({ clock, fetchSpec }: ServingDeps): ServingReader {
  const kept = createRecent<string, Kept>(limits.routeSpecsKeptMax)
  // Apart, so that made-up CIDs cannot push real ones out.
  const missed = createRecent<string, Kept>(limits.routeSpecsKeptMax)
  return {
    async read(cid, signal) {
      const key = cid.toString()
      const known = kept.get(key) ?? missed.get(key)
      if (known && 'serving' in known) return known.serving
      if (known && known.untilMs > clock.monotonicMs()) throw known.error
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(limits.routeSpecFetchMs)])
      try {
        const serving = parseServing(await raceSignal(fetchSpec(cid, deadline), deadline))
        kept.set(key, { serving })
        missed.delete(key)
        return serving
      } catch (cause) {
        signal.throwIfAborted()
        if (isProtocolError(cause) && cause.code === 'too_many_requests') throw cause
        const error = toUnserved(cid, cause)
        missed.set(key, { error, untilMs: clock.monotonicMs() + limits.routeSpecUnknownMs })
        throw error
      }
    },
  }
}

/** @throws ProtocolError `deployment_invalid` */
export function parseServing(bytes: Uint8Array): Serving {
  const sealed = parseSealed(bytes)
  if (sealed) return { kind: 'keys', kids: sealed.recipients.map(({ header }) => header.kid) }
  const { providers } = parseDeployment(bytes)
  return providers.length === 0 ? { kind: 'anybody' } : { kind: 'accounts', accounts: providers }
}

/** Those of the providers that may run it. */
export async function selectServers(
  serving: Serving,
  providers: readonly ProviderName[],
): Promise<readonly ProviderName[]> {
  if (serving.kind === 'anybody') return providers
  if (serving.kind === 'accounts')
    return providers.filter(({ address }) => serving.accounts.includes(address))
  const kids = await Promise.all(providers.map(kidOf))
  return providers.filter((_, index) => {
    const kid = kids[index]
    return kid !== undefined && serving.kids.includes(kid)
  })
}

/** Records are read anew when they change, so each one's key is looked at once. */
const kidsKnown = new WeakMap<ProviderName, Promise<string | undefined>>()

function kidOf(provider: ProviderName): Promise<string | undefined> {
  const known = kidsKnown.get(provider)
  if (known) return known
  const kid = parseSealKey(provider.publicKey).then(
    (key) => key.kid,
    () => undefined,
  )
  kidsKnown.set(provider, kid)
  return kid
}

function toUnserved(cid: CID, cause: unknown): ProtocolError {
  if (isProtocolError(cause) && cause.code === 'deployment_invalid') return cause
  return new ProtocolError('deployment_unserved', `The gateway cannot find the deployment ${cid}.`, {
    hint: 'Call a provider that serves it by name, or upload it to the keeper of this gateway.',
    details: { deployment: cid.toString() },
    cause,
  })
}
