import { z } from 'zod'
import { encodeCanonicalJson, type Json, parseJson } from './canonical-json.ts'
import { ProtocolError } from './errors.ts'
import { limits } from './limits.ts'
import type { RuntimeKind } from './program.ts'

/**
 * Activations: methods of a program with typed params, which its manifest lists. They are called at
 * `/<cid>/_/activate/<name>`; the program gets the params and nothing else of the request, so that a GET and a POST with the same
 * params are the same call.
 */
export const activationPath = '/_/activate'

/** What the program is told by the provider, and nobody else: which activation is meant. */
export const activationHeader = 'khachapuri-activation'
/** And in whose name it speaks, where it attests. */
export const programIdHeader = 'khachapuri-program-id'

const activationVerbs = ['GET', 'POST'] as const
export type ActivationVerb = (typeof activationVerbs)[number]

const nameSchema = z
  .string()
  .max(limits.activationNameCharsMax)
  .regex(/^[a-z][a-zA-Z0-9_]*$/, 'Expected a name such as attest_price')

const about = {
  description: z.string().max(limits.activationTextCharsMax).optional(),
}
const paramAbout = {
  ...about,
  /** That it may be left out; absent where it may not. */
  optional: z.literal(true).optional(),
}
const numberShape = { ...paramAbout, min: z.number().optional(), max: z.number().optional() }

const paramSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('string'),
    ...paramAbout,
    /** In UTF-16 code units, as JavaScript counts. */
    maxLength: z.number().int().min(1).max(limits.activationBodyBytesMax).optional(),
    oneOf: z
      .array(z.string().max(limits.activationTextCharsMax))
      .min(1)
      .max(limits.activationChoicesMax)
      .optional(),
  }),
  /** Between -(2^53 - 1) and 2^53 - 1. */
  z.strictObject({ type: z.literal('integer'), ...numberShape }),
  z.strictObject({ type: z.literal('number'), ...numberShape }),
  z.strictObject({ type: z.literal('boolean'), ...paramAbout }),
])

const activationSchema = z.strictObject({
  ...about,
  /** Both where it is absent. */
  verbs: z
    .array(z.enum(activationVerbs))
    .min(1)
    .refine((verbs) => new Set(verbs).size === verbs.length, 'Expected each verb once')
    .optional(),
  params: z
    .record(nameSchema, paramSchema)
    .refine((params) => Object.keys(params).length <= limits.activationParamsMax, 'Too many params')
    .optional(),
})

/** What a program offers, by name. */
export const activationsSchema = z
  .record(nameSchema, activationSchema)
  .refine((all) => Object.keys(all).length <= limits.activationsMax, 'Too many activations')

export type Activation = z.output<typeof activationSchema>
export type ActivationParam = z.output<typeof paramSchema>
export type Activations = Readonly<Record<string, Activation>>

/** What a program may ask of its provider, beside the network: `attest` has it sign what an activation says. */
export const capabilitiesSchema = z
  .array(z.enum(['attest']))
  .min(1)
  .max(1)
export type Capabilities = z.output<typeof capabilitiesSchema>

/** Why a program cannot have these, as a sentence; undefined where it can. */
export function explainNoActivations({
  runtime,
  activations,
  capabilities,
}: {
  readonly runtime: RuntimeKind
  readonly activations?: Activations | undefined
  readonly capabilities?: Capabilities | undefined
}): string | undefined {
  if (activations && runtime !== 'js')
    return `A ${runtime} program has no activations: only "js" programs export them.`
  if (capabilities && !activations) return 'Only an activation can attest, and the program lists none.'
  return undefined
}

export const canAttest = ({ capabilities }: { readonly capabilities?: Capabilities | undefined }): boolean =>
  capabilities?.includes('attest') ?? false

export const verbsOf = ({ verbs = [...activationVerbs] }: Activation): readonly ActivationVerb[] => verbs

/** An activation that a request means. */
export interface ActivationCall {
  readonly name: string
  readonly activation: Activation
  readonly verb: ActivationVerb
  /** As it was sent, without the question mark. */
  readonly query: string
}

/**
 * Which activation a request means, before its body is read.
 *
 * @param target - Path and query, as the program would see them.
 * @returns undefined where it is for the program's own handler
 * @throws ProtocolError `activation_unknown`, `method_not_allowed`
 */
export function findActivation(
  activations: Activations | undefined,
  { method, target }: { readonly method: string; readonly target: string },
): ActivationCall | undefined {
  if (!activations) return undefined
  const [path = '', ...queries] = target.split('?')
  if (path !== activationPath && !path.startsWith(`${activationPath}/`)) return undefined
  const name = path.slice(activationPath.length + 1)
  const activation = Object.hasOwn(activations, name) ? activations[name] : undefined
  if (!activation) {
    throw new ProtocolError('activation_unknown', `The program has no activation "${name.slice(0, 64)}".`, {
      hint: `It has: ${Object.keys(activations).join(', ').slice(0, 500)}. /_/d/<cid> lists them with their params.`,
    })
  }
  const verbs = verbsOf(activation)
  const verb = verbs.find((one) => one === method)
  if (!verb) {
    throw new ProtocolError('method_not_allowed', `The activation ${name} does not take ${method}.`, {
      hint: `Send ${verbs.join(' or ')}.`,
      details: { allow: verbs },
    })
  }
  return { name, activation, verb, query: queries.join('?') }
}

/**
 * The params of a call, from its query (GET) or its JSON body (POST), each held against its type.
 *
 * @returns canonical JSON: the same bytes for the same params, however they came
 * @throws ProtocolError `activation_param_invalid`, whose `param` names the first that is wrong
 */
export function readActivationParams(
  { activation, verb, query }: ActivationCall,
  body: Uint8Array,
): Uint8Array {
  const params = new Map(Object.entries(activation.params ?? {}))
  const given = verb === 'GET' ? readQuery(query, body, params) : readBody(query, body)
  for (const name of given.keys()) {
    if (!params.has(name)) throw wrong(name, 'is none of its params', [...params.keys()])
  }
  const values: Record<string, Json> = {}
  for (const [name, param] of params) {
    const value = given.get(name)
    if (value === undefined) {
      if (!param.optional) throw wrong(name, `is missing; it is ${describeParam(param)}`)
      continue
    }
    const problem = explainWrong(param, value)
    if (problem !== undefined) throw wrong(name, problem)
    // -0 has no JSON form of its own.
    values[name] = value === 0 ? 0 : value
  }
  return encodeCanonicalJson(values)
}

/** For people: "an integer from 0 to 10". */
export function describeParam(param: ActivationParam): string {
  switch (param.type) {
    case 'string': {
      const { oneOf, maxLength } = param
      if (oneOf)
        return `one of ${oneOf
          .map((choice) => JSON.stringify(choice))
          .join(', ')
          .slice(0, 500)}`
      return maxLength === undefined ? 'a string' : `a string of at most ${maxLength} characters`
    }
    case 'boolean':
      return 'true or false'
    case 'integer':
    case 'number': {
      const bounds = [
        ...(param.min === undefined ? [] : [`from ${param.min}`]),
        ...(param.max === undefined ? [] : [`to ${param.max}`]),
      ]
      return [param.type === 'integer' ? 'an integer' : 'a number', ...bounds].join(' ')
    }
  }
}

function explainWrong(param: ActivationParam, value: Json): string | undefined {
  const expected = `is not ${describeParam(param)}`
  switch (param.type) {
    case 'string': {
      if (typeof value !== 'string') return expected
      // Half a character of two would be another one on its way.
      if (!value.isWellFormed()) return 'is not well-formed text'
      if (param.oneOf && !param.oneOf.includes(value)) return expected
      return param.maxLength !== undefined && value.length > param.maxLength ? expected : undefined
    }
    case 'boolean':
      return typeof value === 'boolean' ? undefined : expected
    case 'integer':
    case 'number': {
      const isOfType = param.type === 'integer' ? Number.isSafeInteger(value) : Number.isFinite(value)
      if (typeof value !== 'number' || !isOfType) return expected
      const { min = value, max = value } = param
      return value < min || value > max ? expected : undefined
    }
  }
}

function readBody(query: string, body: Uint8Array): Map<string, Json> {
  if (query !== '')
    throw new ProtocolError('bad_request', 'The params of a POST stand in its body, and not in its query.', {
      hint: 'Send them as a JSON object, or with GET.',
    })
  const json = body.length === 0 ? {} : parseJson(body)
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return new Map(Object.entries(json))
  throw new ProtocolError('bad_request', 'The body is no JSON object.', {
    hint: 'Send the params as one, such as {"symbol":"BTC"}, as UTF-8.',
  })
}

function readQuery(
  query: string,
  body: Uint8Array,
  params: ReadonlyMap<string, ActivationParam>,
): Map<string, Json> {
  if (body.length > 0)
    throw new ProtocolError('bad_request', 'The params of a GET stand in its query, and not in its body.', {
      hint: 'Leave the body out, or send it with POST.',
    })
  const given = new Map<string, Json>()
  for (const part of query === '' ? [] : query.split('&')) {
    const [name = '', ...rest] = part.split('=')
    const key = decode(name)
    const text = decode(rest.join('='))
    if (key === undefined) throw wrong(name, 'is no percent-encoded UTF-8')
    if (text === undefined) throw wrong(key, 'is no percent-encoded UTF-8')
    if (given.has(key)) throw wrong(key, 'is there twice')
    given.set(key, fromText(params.get(key)?.type, text))
  }
  return given
}

/** As a form writes it: `+` is a space. */
function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch {
    return undefined
  }
}

/** What is no number or truth value stays text, and is refused as such. */
function fromText(type: ActivationParam['type'] | undefined, text: string): Json {
  if (type === 'integer' || type === 'number') {
    // As JSON writes them: no hexadecimal, no spaces, no empty text that would be 0.
    return /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/.test(text) ? Number(text) : text
  }
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

function wrong(param: string, what: string, known?: readonly string[]): ProtocolError {
  const name = param.slice(0, limits.activationNameCharsMax)
  return new ProtocolError('activation_param_invalid', `The param "${name}" ${what}.`, {
    hint: known ? `It has: ${known.join(', ') || 'none'}.` : '/_/d/<cid> lists the params with their types.',
    details: { param: name },
  })
}
