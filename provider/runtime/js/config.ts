import { isUtf8 } from 'node:buffer'
import type { Json } from '../../../protocol/canonical-json.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import type { ProgramFiles } from '../runtime.ts'
import { type CapnpStruct, type CapnpValue, encodeCapnp, struct, text } from './capnp.ts'
import { formatWrapper, globalsSource, pingEntrypoint, programFolder } from './wrapper.ts'

export interface WorkerdConfigOptions {
  readonly env: Readonly<Record<string, string>>
  readonly params: Json
  /** Bound of the JavaScript heap; array buffers and WebAssembly memory are outside it. */
  readonly memoryMiB: number
  /** Marks faults that the wrapper tells as its own. */
  readonly token: string
}

/**
 * The date whose behaviour programs are promised; raising it is a decision, not an update. `nodejs_compat` is part of
 * it: `node:` modules are there, over a virtual file system and the same closed network.
 */
export const compatibilityDate = '2026-11-01'

/** The two sockets that workerd listens on; their addresses are given on its command line. */
export const sockets = { main: 'main', ping: 'ping' } as const

/** The name by which a program finds its params beside its secrets. */
export const paramsName = 'params'

/**
 * Writes workerd's configuration for one program as a binary Cap'n Proto message (`workerd.capnp`, `Config`).
 *
 * There is no way out in it, see `internetService`.
 *
 * @throws ProtocolError `program_invalid` where the entry cannot be run.
 */
export function encodeWorkerdConfig(program: ProgramFiles, options: WorkerdConfigOptions): Buffer {
  return encodeCapnp({
    pointers: [
      { kind: 'structs', structs: [programService(program, options), internetService()] },
      { kind: 'structs', structs: [socket(sockets.main), socket(sockets.ping, pingEntrypoint)] },
      { kind: 'texts', texts: v8Flags(options.memoryMiB) },
    ],
  })
}

/**
 * Small heaps that grow on demand: V8 sizes itself by the machine, and takes 250 MB for a busy program that needs 42.
 */
function v8Flags(memoryMiB: number): string[] {
  return [
    '--initial-old-space-size=1',
    '--initial-heap-size=4',
    '--max-semi-space-size=1',
    `--max-heap-size=${memoryMiB}`,
  ]
}

// What follows mirrors the order of fields in workerd.capnp; a test holds it against `workerd compile`.

function programService(program: ProgramFiles, { env, params, token }: WorkerdConfigOptions): CapnpStruct {
  if (Object.hasOwn(env, paramsName)) {
    throw new ProtocolError('deployment_invalid', `An env entry is named "${paramsName}".`, {
      hint: 'Rename it: programs find their params under that name.',
    })
  }
  const bindings = [
    ...Object.entries(env).map(([name, value]) => named(name, bindingTags.text, text(value))),
    named(paramsName, bindingTags.json, text(JSON.stringify(params))),
  ]
  const worker = struct([
    { kind: 'structs', structs: modules(program, token) },
    text(compatibilityDate),
    undefined,
    { kind: 'structs', structs: bindings },
  ])
  return named('program', serviceTags.worker, worker)
}

/**
 * Where `fetch()`, `connect()` and `node:net` go: a socket that cannot exist. A `network` service that allows nothing
 * would still ask the machine's name server for every host name, which is a way to send secrets out.
 */
function internetService(): CapnpStruct {
  const proxyStyle = 1
  const external = struct([text('unix:/dev/null/closed'), struct([], proxyStyle)])
  return named('internet', serviceTags.external, external)
}

function socket(name: string, entrypoint?: string): CapnpStruct {
  // The gateway or the provider terminated TLS; the program sees the address that its caller used.
  const http = struct([text('x-forwarded-proto')])
  const service = struct([text('program'), entrypoint ? text(entrypoint) : undefined])
  return { pointers: [text(name), undefined, http, undefined, service] }
}

function modules({ files, entry }: ProgramFiles, token: string): CapnpStruct[] {
  const found = files.find((file) => file.path === entry)
  const type = found && moduleType(found.path, found.bytes)
  if (type !== 'esModule' && type !== 'commonJsModule') {
    throw new ProtocolError('program_invalid', `The entry "${entry.slice(0, 100)}" is no JavaScript file.`, {
      hint: 'Name a .js, .mjs or .cjs file that is in the program.',
    })
  }
  return [
    named('main.js', moduleTags.esModule, text(formatWrapper({ entry, token }))),
    named('globals.js', moduleTags.esModule, text(globalsSource)),
    ...files.map(({ path, bytes }) => {
      const type = moduleType(path, bytes)
      const value: CapnpValue = { kind: type === 'data' || type === 'wasm' ? 'data' : 'text', bytes }
      return named(programFolder + path, moduleTags[type], value)
    }),
  ]
}

function named(name: string, tag: number, value: CapnpValue): CapnpStruct {
  return { tag, pointers: [text(name), value] }
}

const serviceTags = { worker: 1, external: 3 } as const
const moduleTags = { esModule: 0, commonJsModule: 1, text: 2, data: 3, wasm: 4, json: 5 } as const
const bindingTags = { text: 2, json: 4 } as const

type ModuleType = keyof typeof moduleTags

/** What an import of the file gives, by its ending; whatever is not text after all comes as bytes. */
function moduleType(path: string, bytes: Uint8Array): ModuleType {
  const ending = /\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? ''
  const type = moduleTypes[ending] ?? 'data'
  return type === 'wasm' || isUtf8(bytes) ? type : 'data'
}

const moduleTypes: Readonly<Record<string, ModuleType>> = {
  js: 'esModule',
  mjs: 'esModule',
  cjs: 'commonJsModule',
  wasm: 'wasm',
  json: 'json',
  txt: 'text',
  html: 'text',
  htm: 'text',
  css: 'text',
  md: 'text',
  csv: 'text',
  svg: 'text',
  xml: 'text',
}
