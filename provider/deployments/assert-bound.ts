import { canAttest } from '../../protocol/activation.ts'
import { encodeCanonicalJson, type Json, parseJson } from '../../protocol/canonical-json.ts'
import type { DeploymentSpec } from '../../protocol/deployment.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { manifestName } from '../../protocol/program.ts'
import type { ProgramFiles } from '../runtime/runtime.ts'

/**
 * What attests speaks in the name of its programId, which names the zip and the params and nothing else of a spec: so what runs, and
 * what it offers, must be what the manifest in the zip says. Another entry of the same zip would be another program.
 *
 * @throws ProtocolError `deployment_invalid`
 */
export function assertBound(spec: AttestingSpec, files: ProgramFiles['files']): void {
  if (!canAttest(spec)) return
  const manifest = parseJson(files.find(({ path }) => path === manifestName)?.bytes ?? new Uint8Array())
  const said = typeof manifest === 'object' && manifest !== null && !Array.isArray(manifest) ? manifest : {}
  const differs = (['runtime', 'entry', 'activations', 'capabilities'] as const).find(
    (field) => !isSameJson((said as Record<string, Json | undefined>)[field], spec[field] as Json),
  )
  if (differs === undefined) return
  throw new ProtocolError(
    'deployment_invalid',
    `The deployment says another ${differs} than its program does.`,
    {
      hint: 'A program that attests runs as its own manifest says: deploy it again with "khachapuri deploy".',
    },
  )
}

const isSameJson = (a: Json | undefined, b: Json) =>
  a !== undefined && Buffer.from(encodeCanonicalJson(a)).equals(encodeCanonicalJson(b))

type AttestingSpec = Pick<DeploymentSpec, 'runtime' | 'entry' | 'activations' | 'capabilities'>
