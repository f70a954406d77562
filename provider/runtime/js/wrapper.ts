import { activationHeader, programIdHeader } from '../../../protocol/activation.ts'
import { attestTokenHeader } from '../../attest/attest-channel.ts'
import { faultCodes } from '../runtime.ts'
import { attestBinding, pingEntrypoint } from '../workerd/config.ts'
import { faultHeader } from '../workerd/fault.ts'

/** Where the program's files are in the worker: beside the wrapper, never in its place. */
export const programFolder = 'program/'

/**
 * Imported before the program, so that a program that replaces a global (as polyfills do) does not change what the
 * wrapper means by it. Timers become Node's, as the platform has them, once somebody looks at one: a third of a start was
 * spent on loading them for programs that never do (`jsConvention` asks workerd not to).
 */
export const globalsSource = `
const { Response, Error, TypeError, Promise, String, encodeURIComponent, Object, JSON, Uint8Array, ArrayBuffer, WeakMap } = globalThis
export { Response, Error, TypeError, Promise, String, encodeURIComponent, Object, JSON, Uint8Array, ArrayBuffer, WeakMap }

const timerNames = ['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval']
const plainTimers = Object.fromEntries(timerNames.map((name) => [name, globalThis[name]]))
const waiting = new Set(timerNames)
const define = (name, value) => {
  waiting.delete(name)
  Object.defineProperty(globalThis, name, { value, writable: true, enumerable: true, configurable: true })
}
const load = () => {
  const timers = globalThis.process?.getBuiltinModule?.('node:timers') ?? plainTimers
  for (const name of waiting) define(name, timers[name])
}
for (const name of timerNames) {
  Object.defineProperty(globalThis, name, {
    get() {
      try {
        load()
      } catch {
        return plainTimers[name] // Node's own modules look at it while they are loaded.
      }
      return globalThis[name]
    },
    set: (value) => define(name, value),
    enumerable: true,
    configurable: true,
  })
}
`

interface WrapperOptions {
  readonly entry: string
  /** What a fault begins with. */
  readonly token: string
  /** Whether it exports methods as `activations`. */
  readonly hasActivations?: boolean
  /** Whether those may attest. */
  readonly attests?: boolean
}

/** The header is the provider's word: it takes it off what callers send. */
const toActivation = `const name = request.headers.get('${activationHeader}')
    if (name !== null) return activate(name, request, env, ctx)`

/** An activation gets its params, and nothing else of the request. */
const activationSource = `
async function activate(name, request, env, ctx) {
  try {
    const { activations } = program
    if (!activations || !Object.hasOwn(activations, name) || typeof activations[name] !== 'function')
      return invalid('The program exports no activations.' + name + ', which its manifest lists.')
    const { '${attestBinding}': channel, ...own } = env
    const context = {
      env: own,
      programId: request.headers.get('${programIdHeader}'),
      waitUntil: (promise) => ctx.waitUntil(promise),
    }
    if (channel) {
      const token = request.headers.get('${attestTokenHeader}')
      // One after the other: the provider signs no faster, and each would have a connection of its own.
      let before = Promise.resolve()
      context.attest = (message) => {
        const bytes = message instanceof Uint8Array || message instanceof ArrayBuffer ? message.slice() : undefined
        const signature = before.then(() => attest(channel, token, bytes))
        before = signature.catch(() => undefined)
        return signature
      }
    }
    const answer = await activations[name](JSON.parse(await request.text()), context)
    if (answer instanceof Response) return answer
    return answer instanceof Uint8Array || answer instanceof ArrayBuffer
      ? new Response(answer, { headers: { 'content-type': 'application/octet-stream' } })
      : Response.json(answer ?? null)
  } catch (error) {
    return fault(attestCodes.get(error) ?? 'activation_failed', describe(error))
  }
}

/** What the provider said of a wish for a signature, so that nothing else is taken for it. */
const attestCodes = new WeakMap()

async function attest(channel, token, message) {
  if (message === undefined) throw new TypeError('attest() takes bytes.')
  const answer = await channel.fetch('http://attest/', { method: 'POST', headers: { '${attestTokenHeader}': token }, body: message })
  if (answer.status === 200) return new Uint8Array(await answer.arrayBuffer())
  const { code, detail } = await answer.json()
  throw attestError(code, detail)
}

function attestError(code, detail) {
  const error = Object.assign(new Error(detail), { name: 'AttestError', code })
  const known = ${JSON.stringify(faultCodes)}
  attestCodes.set(error, known.includes(code) ? code : 'attest_busy')
  return error
}
`

/** The handler of pages runs where there is no way to the key; this says so to whoever tries. */
const attestSource = `
const attestOutside = async () => {
  throw attestError('attest_outside_activation', 'Only an activation can attest, and only while it runs.')
}
`

/**
 * The worker's main module: calls the program and turns what is not an answer into a fault that the provider knows.
 *
 * A program that answers at once pays one `instanceof`; the response is passed on untouched.
 */
export function formatWrapper({
  entry,
  token,
  hasActivations = false,
  attests = false,
}: WrapperOptions): string {
  return `
import { Response, Error, TypeError, Promise, String, encodeURIComponent, Object, JSON, Uint8Array, ArrayBuffer, WeakMap } from './globals.js'
import * as program from ${JSON.stringify(`./${programFolder}${entry}`)}

const handler = program.default

export default {
  fetch(request, env, ctx) {
    ${hasActivations ? toActivation : ''}
    ${attests ? 'ctx.attest = attestOutside' : ''}
    if (typeof handler?.fetch !== 'function') return invalid('The program has no default export with a fetch function.')
    try {
      const answer = handler.fetch(request, env, ctx)
      return answer instanceof Response ? answer : Promise.resolve(answer).then(check, crashed)
    } catch (error) {
      return crashed(error)
    }
  },
}

export const ${pingEntrypoint} = { fetch: () => new Response() }

function check(answer) {
  return answer instanceof Response ? answer : invalid('The program gave no Response, but ' + nameType(answer) + '.')
}

function nameType(value) {
  if (value === null) return 'null'
  const type = typeof value
  return type === 'undefined' ? type : (type === 'object' ? 'an ' : 'a ') + type
}

const crashed = (error) => fault(${attests ? "attestCodes.get(error) ?? 'crashed'" : "'crashed'"}, describe(error))
${hasActivations ? activationSource : ''}
${attests ? attestSource : ''}
const invalid = (message) => fault('output_invalid', message)

function fault(kind, message) {
  const value = ${JSON.stringify(token)} + ' ' + kind + ' ' + encodeURIComponent(message)
  return new Response(null, { status: 500, headers: { '${faultHeader}': value } })
}

function describe(error) {
  try {
    if (!(error instanceof Error)) return String(error).slice(0, 1000).toWellFormed()
    const where = /${programFolder.replace('/', '\\/')}([^\\s()]+:\\d+:\\d+)/.exec(String(error.stack))?.[1]
    const what = error.name + ': ' + error.message
    return (what.slice(0, 900) + (where ? ' (' + where.slice(-90) + ')' : '')).toWellFormed()
  } catch {
    return 'It threw something that cannot be described.'
  }
}
`
}
