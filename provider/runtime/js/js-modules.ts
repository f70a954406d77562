import { isUtf8 } from 'node:buffer'
import { canAttest } from '../../../protocol/activation.ts'
import { utf8 } from '../../../protocol/base/bytes.ts'
import { ProtocolError } from '../../../protocol/errors.ts'
import type { ProgramFiles } from '../runtime.ts'
import type { ModuleType, WorkerModule } from '../workerd/config.ts'
import type { Convention } from '../workerd/workerd.ts'
import { formatWrapper, globalsSource, programFolder } from './wrapper.ts'

/** Modules with a default export of `fetch(request, env, ctx)`. */
export const jsConvention: Convention = {
  kind: 'js',
  toModules: toJsModules,
  // The wrapper sees to them, see `globalsSource`.
  compatibilityFlags: ['no_nodejs_global_timers'],
}

/**
 * The wrapper and the program's own files, as modules of one worker.
 *
 * @param token - Marks faults that the wrapper tells as its own.
 * @throws ProtocolError `program_invalid` where the entry cannot be run.
 */
export function toJsModules(
  { files, entry, activations, capabilities }: ProgramFiles,
  token: string,
): WorkerModule[] {
  const found = files.find((file) => file.path === entry)
  const type = found && moduleType(found.path, found.bytes)
  if (type !== 'esModule' && type !== 'commonJsModule') {
    throw new ProtocolError('program_invalid', `The entry "${entry.slice(0, 100)}" is no JavaScript file.`, {
      hint: 'Name a .js, .mjs or .cjs file that is in the program.',
    })
  }
  const offers = { hasActivations: activations !== undefined, attests: canAttest({ capabilities }) }
  return [
    { name: 'main.js', type: 'esModule', bytes: utf8.encode(formatWrapper({ entry, token, ...offers })) },
    { name: 'globals.js', type: 'esModule', bytes: utf8.encode(globalsSource) },
    ...files.map(({ path, bytes }) => ({ name: programFolder + path, type: moduleType(path, bytes), bytes })),
  ]
}

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
