import { builtinModules } from 'node:module'
import { join, relative } from 'node:path'
import type { BuildFailure, Message, Plugin } from 'esbuild'
import { ProtocolError } from '../../protocol/errors.ts'
import type { BundleMap } from './source-map.ts'

/** What an import of such a file gives the program: text or bytes, bundled like code. */
const assetLoaders = {
  '.txt': 'text',
  '.md': 'text',
  '.html': 'text',
  '.css': 'text',
  '.csv': 'text',
  '.svg': 'text',
  '.bin': 'binary',
  '.png': 'binary',
  '.wasm': 'copy',
} as const

/**
 * Bundles a program into one ES module for workerd. The bytes depend on the sources and the installed packages only:
 * no path of this machine, no time, and no source map, which is for the developer alone.
 *
 * @param dir - The program's directory.
 * @param entry - Its entry, relative to `dir`.
 * @throws ProtocolError `program_invalid` with the compiler's messages
 */
export async function bundleProgram({ dir, entry }: { dir: string; entry: string }): Promise<BundleResult> {
  const { build } = await import('esbuild')
  const result = await build({
    entryPoints: [join(dir, entry)],
    absWorkingDir: dir,
    outfile: join(dir, bundlePath(entry)),
    write: false,
    bundle: true,
    format: 'esm',
    target: 'es2024',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['workerd', 'worker', 'browser'],
    define: { 'process.env.NODE_ENV': '"production"' },
    loader: assetLoaders,
    assetNames: '[name]-[hash]',
    // Not for the size: only minified output is free of the paths of modules, which differ where packages are
    // installed elsewhere. esbuild's keepNames would make every closure dearer.
    minify: true,
    legalComments: 'none',
    sourcemap: 'external',
    sourcesContent: false,
    charset: 'utf8',
    // A tsconfig may have options that change the output, and may lie outside of the directory.
    tsconfigRaw: {
      compilerOptions: { target: 'esnext', useDefineForClassFields: true, verbatimModuleSyntax: false },
    },
    plugins: [nodeModules],
    logLevel: 'silent',
    metafile: true,
  }).catch((error: BuildFailure) => {
    throw notBuilt(error, dir)
  })
  const files = result.outputFiles.map(({ path, contents }) => ({
    path: relative(dir, path).replaceAll('\\', '/'),
    bytes: contents,
  }))
  const path = bundlePath(entry)
  const map = files.find((file) => file.path === `${path}.map`)
  return {
    files: files.filter((file) => file !== map),
    sourceMap: map && { path, json: map.bytes },
    warnings: result.warnings.map((warning) => formatMessage(warning)),
  }
}

export interface BundleResult {
  /** The module, and files that it imports as they are. */
  readonly files: readonly { readonly path: string; readonly bytes: Uint8Array }[]
  readonly sourceMap: BundleMap | undefined
  readonly warnings: readonly string[]
}

/** Where the bundle of a source stands in the zip: in its place, so that relative paths keep their meaning. */
export function bundlePath(entry: string): string {
  return `${entry.replace(/\.[cm]?[jt]sx?$/, '')}.js`
}

/** Node's own modules stay imports, as workerd has them, under the one name that it knows; a package goes first. */
const nodeModules: Plugin = {
  name: 'node-modules',
  setup(build) {
    const builtin = new RegExp(`^(?:node:.*|${builtinModules.map(RegExp.escape).join('|')})$`)
    build.onResolve({ filter: builtin }, async ({ path, pluginData, ...options }) => {
      if (path.startsWith('node:')) return { path, external: true }
      if (pluginData === askedAlready) return undefined
      const { importer, namespace, resolveDir, kind } = options
      const found = await build.resolve(path, {
        importer,
        namespace,
        resolveDir,
        kind,
        pluginData: askedAlready,
      })
      return found.errors.length === 0 ? { path: found.path } : { path: `node:${path}`, external: true }
    })
  },
}

const askedAlready = 'asked already'

function notBuilt(error: BuildFailure, dir: string): unknown {
  if (!Array.isArray(error.errors) || error.errors.length === 0) return error
  const messages = error.errors.slice(0, 5).map((message) => formatMessage(message).replaceAll(`${dir}/`, ''))
  return new ProtocolError('program_invalid', `The program cannot be bundled:\n${messages.join('\n')}`, {
    hint: 'Mend the source, or install the packages that it imports, and build again.',
    cause: error,
  })
}

function formatMessage({ text, location }: Message): string {
  return location ? `  ${location.file}:${location.line}:${location.column + 1}: ${text}` : `  ${text}`
}
