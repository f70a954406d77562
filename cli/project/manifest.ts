import { z } from 'zod'
import { activationsSchema, capabilitiesSchema, explainNoActivations } from '../../protocol/activation.ts'
import { utf8 } from '../../protocol/base/bytes.ts'
import { encodeCanonicalJson, type Json, parseJson } from '../../protocol/canonical-json.ts'
import { egressSchema, explainNoEgress } from '../../protocol/egress.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { isNativeOnly, nativeModes, type Params, runtimeKinds } from '../../protocol/program.ts'
import { limitShape, programLimits } from '../../protocol/program-limits.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { compareRuleSchema } from '../../protocol/swarm/compare-answers.ts'

const projectName = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/

/** Whether a program can have this name, which is then safe as that of a file. */
export function isProjectName(text: string): boolean {
  return text.length <= limits.nameBytesMax && projectName.test(text)
}

const limitsSchema = z.strictObject({
  ...limitShape,
  timeoutMs: limitShape.timeoutMs.default(programLimits.timeoutMs.default),
  memoryMiB: limitShape.memoryMiB.default(programLimits.memoryMiB.default),
  /** What it may reach: "none", "public", or origins. */
  egress: egressSchema.default('none'),
})

const manifestSchema = z
  .strictObject({
    name: z
      .string()
      .max(limits.nameBytesMax)
      .regex(projectName, 'Expected lower-case letters, digits and "-"'),
    runtime: z.enum(runtimeKinds).default('js'),
    /** How a `native` program answers: a process per call, or a server on `LISTEN_SOCKET` or `PORT`; `cgi` where it is absent. */
    native: z.enum(nativeModes).optional(),
    /** The file that answers: a source in a directory, what runs in a zip. */
    entry: z
      .string()
      .min(1)
      .max(limits.zipPathBytesMax)
      .refine(
        (path) => !path.startsWith('/') && !path.split('/').includes('..'),
        'Expected a path inside the program',
      ),
    params: z.custom<Params>(isJsonObject, 'Expected a JSON object').default({}),
    limits: limitsSchema.default(limitsSchema.parse({})),
    /** What makes two answers the same, where several providers vote on one; status, type and body where it is absent. */
    compare: compareRuleSchema.optional(),
    /** Methods with typed params, exported as `activations`. */
    activations: activationsSchema.optional(),
    /** What it asks of providers: `["attest"]` to have them sign what its activations say. */
    capabilities: capabilitiesSchema.optional(),
    /** Names that do not go into the zip, at any depth; `*` stands for any characters. */
    exclude: z.array(z.string().min(1).max(limits.zipNameBytesMax)).max(256).default([]),
  })
  .refine(isNativeOnly, { path: ['native'], error: 'Only a program with the runtime "native" has that' })

/** What a program says of itself, with every default filled in. */
export type Manifest = z.output<typeof manifestSchema>

/**
 * Reads a manifest.
 *
 * @param where - For the message: its file.
 * @throws ProtocolError `program_invalid`
 */
export function parseManifest(bytes: Uint8Array, where: string): Manifest {
  const tooLarge = bytes.byteLength > limits.manifestBytesMax
  const parsed = tooLarge ? undefined : manifestSchema.safeParse(parseJson(bytes))
  const conflict =
    parsed?.success &&
    (explainNoEgress(parsed.data.runtime, parsed.data.limits.egress) ?? explainNoActivations(parsed.data))
  if (parsed?.success && !conflict) return parsed.data
  const why = parsed?.error ? describeIssues(parsed.error) : conflict || tooLargeMessage
  throw new ProtocolError('program_invalid', `${where} is not a valid manifest: ${why}`, {
    hint: `Expected at least {"name": "…", "entry": "src/index.ts"}; see cli/README.md.`,
  })
}

const tooLargeMessage = `It has more than ${limits.manifestBytesMax} bytes.`

/** The manifest as it goes into a zip: one spelling for one meaning, and nothing that only concerns building. */
export function formatManifest({ exclude: _, ...manifest }: Manifest): Uint8Array {
  const { egress, ...others } = manifest.limits
  const written = { ...manifest, limits: egress === 'none' ? others : { ...others, egress } }
  return encodeCanonicalJson(written as unknown as Json)
}

/**
 * Reads the value of `--params`.
 *
 * @throws ProtocolError `usage_invalid`
 */
export function parseParams(text: string): Params {
  const value = parseJson(utf8.encode(text))
  if (isJsonObject(value) && Buffer.byteLength(text) <= limits.paramsBytesMax) return value
  throw new ProtocolError('usage_invalid', 'The value of --params is not a JSON object.', {
    hint: `Write it as in --params '{"greeting":"Hello"}', with at most ${limits.paramsBytesMax} bytes.`,
  })
}

function isJsonObject(value: unknown): value is Params {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
