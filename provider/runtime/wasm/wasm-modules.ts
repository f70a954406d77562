import { join } from 'node:path'
import { build } from 'esbuild'
import { assert } from '../../../protocol/base/assert.ts'
import { utf8 } from '../../../protocol/base/bytes.ts'
import { recordHeaders } from '../../../protocol/call.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import type { ProgramFiles } from '../runtime.ts'
import type { WorkerModule } from '../workerd/config.ts'
import { faultHeader } from '../workerd/fault.ts'
import type { Convention } from '../workerd/workerd.ts'

/** WASI commands in the CGI way: see guest/. */
export async function createWasmConvention(): Promise<Convention> {
  const guest = await bundleGuest()
  return {
    kind: 'wasm',
    toModules: (program, token) => toWasmModules(program, { guest, token }),
    // The guest needs nothing of Node, and workerd takes a third of its start to load that.
    compatibilityFlags: ['no_nodejs_compat', 'no_nodejs_compat_v2'],
  }
}

/** What runs beside each program, as one module that imports the program's own from `program.js`. */
async function bundleGuest(): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, 'guest', 'main.ts')],
    bundle: true,
    write: false,
    format: 'esm',
    target: 'esnext',
    external: ['./program.js'],
    logLevel: 'silent',
  })
  const [file] = outputFiles
  assert(file, 'a bundle is one file')
  return file.contents
}

/** @throws ProtocolError `program_invalid` where the entry is no WebAssembly. */
export function toWasmModules(
  { files, entry }: ProgramFiles,
  { guest, token }: { guest: Uint8Array; token: string },
): WorkerModule[] {
  const program = files.find((file) => file.path === entry)
  if (!program || !isWasm(program.bytes)) {
    throw new ProtocolError(
      'program_invalid',
      `The entry "${entry.slice(0, 100)}" is no WebAssembly module.`,
      {
        hint: 'Name a .wasm file that is in the program: a WASI command, as "clang --target=wasm32-wasi" makes it.',
      },
    )
  }
  const others = files.filter((file) => file !== program)
  return [
    { name: 'main.js', type: 'esModule', bytes: guest },
    { name: 'program.js', type: 'esModule', bytes: utf8.encode(formatProgram({ entry, token, others })) },
    { name: 'program.wasm', type: 'wasm', bytes: program.bytes },
    ...others.map(({ bytes }, index) => ({ name: `file/${index}`, type: 'data' as const, bytes })),
  ]
}

/** The magic number and version 1 (https://webassembly.github.io/spec/core/binary/modules.html). */
const isWasm = (bytes: Uint8Array) => Buffer.from(bytes.subarray(0, 8)).toString('hex') === '0061736d01000000'

/** Mirrors guest/program.d.ts. Paths are strangers' words, so they are only ever JSON. */
function formatProgram({
  entry,
  token,
  others,
}: {
  entry: string
  token: string
  others: ProgramFiles['files']
}): string {
  const imports = others.map((_, index) => `import file${index} from './file/${index}'`)
  const listed = others.map(
    ({ path }, index) => `{ path: ${JSON.stringify(path)}, bytes: new Uint8Array(file${index}) },`,
  )
  return [
    `import program from './program.wasm'`,
    ...imports,
    'export { program }',
    `export const entry = ${JSON.stringify(entry)}`,
    `export const token = ${JSON.stringify(token)}`,
    `export const faultHeader = ${JSON.stringify(faultHeader)}`,
    `export const recordHeaders = ${JSON.stringify(recordHeaders)}`,
    `export const files = [${listed.join('\n')}]`,
  ].join('\n')
}
