import type { Json } from '../../../protocol/canonical-json.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import { type CapnpStruct, type CapnpValue, encodeCapnp, struct, text } from './capnp.ts'

export interface WorkerdConfigOptions {
  readonly env: Readonly<Record<string, string>>
  readonly params: Json
  /** Bound of the JavaScript heap; array buffers and WebAssembly memory are outside it. */
  readonly memoryMiB: number
  /** The socket of its egress proxy, by the path that workerd knows; without one there is no way out. */
  readonly egressPath?: string | undefined
  /** The socket where it may ask for signatures, likewise; without one there is no such binding. */
  readonly attestPath?: string | undefined
  /** What of the date's behaviour is left out. */
  readonly compatibilityFlags?: readonly string[] | undefined
}

/**
 * The date whose behaviour programs are promised; raising it is a decision, not an update. `nodejs_compat` is part of
 * it: `node:` modules are there, over a virtual file system and the same closed network.
 */
export const compatibilityDate = '2026-11-01'

/** The two sockets that workerd listens on; their addresses are given on its command line. */
export const sockets = { main: 'main', ping: 'ping' } as const

/** The name of the entry point of the main module that answers `200` whenever the program's thread is free. */
export const pingEntrypoint = 'ping'

/** A module of the worker; the first of them is its main module. */
export interface WorkerModule {
  /** By which others import it. */
  readonly name: string
  readonly type: ModuleType
  readonly bytes: Uint8Array
}

/** The binding over which the wrapper asks for signatures. No secret can have this name. */
export const attestBinding = 'khachapuri:attest'

/** The name by which a program finds its params beside its secrets. */
export const paramsName = 'params'

/**
 * Writes workerd's configuration for one program as a binary Cap'n Proto message (`workerd.capnp`, `Config`).
 *
 * The only way out is a proxy that listens for this one program, see `internetService`.
 *
 * @throws ProtocolError `deployment_invalid` where a secret has the name of the params.
 */
export function encodeWorkerdConfig(modules: readonly WorkerModule[], options: WorkerdConfigOptions): Buffer {
  return encodeCapnp({
    pointers: [
      { kind: 'structs', structs: services(modules, options) },
      { kind: 'structs', structs: [socket(sockets.main), socket(sockets.ping, pingEntrypoint)] },
      { kind: 'texts', texts: v8Flags(options.memoryMiB) },
    ],
  })
}

/**
 * Small heaps that grow on demand: V8 sizes itself by the machine, and takes 250 MB for a busy program that needs 39. The
 * price is 1 ms of each start: workerd brings its own scripts along compiled for V8's defaults, to which the first two count.
 * The last lets V8 collect young objects between calls, once a quarter of their room is used: each call leaves some that hold
 * much more outside of the heap, and 5 MB less of that stay. Calls take no more of the processor for it.
 */
function v8Flags(memoryMiB: number): string[] {
  return [
    '--initial-old-space-size=1',
    '--initial-heap-size=4',
    '--max-semi-space-size=1',
    `--max-heap-size=${memoryMiB}`,
    '--minor-gc-task-trigger=25',
  ]
}

// What follows mirrors the order of fields in workerd.capnp; a test holds it against `workerd compile`.

function services(modules: readonly WorkerModule[], options: WorkerdConfigOptions): CapnpStruct[] {
  const own = [programService(modules, options), internetService(options)]
  return options.attestPath === undefined ? own : [...own, attestService(options.attestPath)]
}

function programService(
  modules: readonly WorkerModule[],
  { env, params, attestPath, compatibilityFlags }: WorkerdConfigOptions,
): CapnpStruct {
  if (Object.hasOwn(env, paramsName)) {
    throw new ProtocolError('deployment_invalid', `An env entry is named "${paramsName}".`, {
      hint: 'Rename it: programs find their params under that name.',
    })
  }
  const bindings = [
    ...Object.entries(env).map(([name, value]) => named(name, bindingTags.text, text(value))),
    named(paramsName, bindingTags.json, text(JSON.stringify(params))),
    ...(attestPath === undefined ? [] : [named(attestBinding, bindingTags.service, designator('attest'))]),
  ]
  const worker = struct([
    { kind: 'structs', structs: modules.map(toStruct) },
    text(compatibilityDate),
    compatibilityFlags && { kind: 'texts', texts: compatibilityFlags },
    { kind: 'structs', structs: bindings },
  ])
  return named('program', serviceTags.worker, worker)
}

/**
 * Where `fetch()`, `connect()` and `node:net` go: to the proxy, or to a socket that cannot exist. A `network` service that
 * allows nothing would still ask the machine's name server for every host name, which is a way to send secrets out.
 */
function internetService({ egressPath = '/dev/null/closed' }: WorkerdConfigOptions): CapnpStruct {
  const proxyStyle = 1
  const external = struct([text(`unix:${egressPath}`), struct([], proxyStyle)])
  return named('internet', serviceTags.external, external)
}

function attestService(path: string): CapnpStruct {
  return named('attest', serviceTags.external, struct([text(`unix:${path}`), struct([])]))
}

const designator = (service: string) => struct([text(service), undefined, undefined])

function socket(name: string, entrypoint?: string): CapnpStruct {
  // The gateway or the provider terminated TLS; the program sees the address that its caller used.
  const http = struct([text('x-forwarded-proto')])
  const service = struct([text('program'), entrypoint ? text(entrypoint) : undefined])
  return { pointers: [text(name), undefined, http, undefined, service] }
}

function toStruct({ name, type, bytes }: WorkerModule): CapnpStruct {
  const kind = type === 'data' || type === 'wasm' ? 'data' : 'text'
  return named(name, moduleTags[type], { kind, bytes })
}

function named(name: string, tag: number, value: CapnpValue): CapnpStruct {
  return { tag, pointers: [text(name), value] }
}

const serviceTags = { worker: 1, external: 3 } as const
const moduleTags = { esModule: 0, commonJsModule: 1, text: 2, data: 3, wasm: 4, json: 5 } as const
const bindingTags = { text: 2, json: 4, service: 7 } as const

export type ModuleType = keyof typeof moduleTags
