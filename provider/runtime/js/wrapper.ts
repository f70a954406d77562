import { pingEntrypoint } from '../workerd/config.ts'
import { faultHeader } from '../workerd/fault.ts'

/** Where the program's files are in the worker: beside the wrapper, never in its place. */
export const programFolder = 'program/'

/**
 * Imported before the program, so that a program that replaces a global (as polyfills do) does not change what the
 * wrapper means by it. Timers become Node's, as the platform has them, once somebody looks at one: a third of a start was
 * spent on loading them for programs that never do (`jsConvention` asks workerd not to).
 */
export const globalsSource = `
const { Response, Error, Promise, String, encodeURIComponent, Object } = globalThis
export { Response, Error, Promise, String, encodeURIComponent }

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

/**
 * The worker's main module: calls the program and turns what is not an answer into a fault that the provider knows.
 *
 * A program that answers at once pays one `instanceof`; the response is passed on untouched.
 */
export function formatWrapper({ entry, token }: { entry: string; token: string }): string {
  return `
import { Response, Error, Promise, String, encodeURIComponent } from './globals.js'
import * as program from ${JSON.stringify(`./${programFolder}${entry}`)}

const handler = program.default

export default {
  fetch(request, env, ctx) {
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

const crashed = (error) => fault('crashed', describe(error))
const invalid = (message) => fault('output_invalid', message)

function fault(kind, message) {
  const value = ${JSON.stringify(token)} + ' ' + kind + ' ' + encodeURIComponent(message)
  return new Response(null, { status: 500, headers: { '${faultHeader}': value } })
}

function describe(error) {
  try {
    if (!(error instanceof Error)) return String(error).slice(0, 1000).toWellFormed()
    const where = /${programFolder.replace('/', '\\/')}([^\\s()]+:\\d+):\\d+/.exec(String(error.stack))?.[1]
    const what = error.name + ': ' + error.message
    return (what.slice(0, 900) + (where ? ' (' + where.slice(-90) + ')' : '')).toWellFormed()
  } catch {
    return 'It threw something that cannot be described.'
  }
}
`
}
