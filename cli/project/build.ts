import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ProtocolError } from '../../protocol/errors.ts'
import { packZip, type ZipEntry } from '../../protocol/ipfs/pack-zip.ts'
import { ignoredByDefault, readProgramTree } from '../../protocol/ipfs/read-tree.ts'
import { limits } from '../../protocol/limits.ts'
import { manifestName } from '../../protocol/program.ts'
import { readFileBounded } from '../files.ts'
import { bundlePath, bundleProgram } from './bundle.ts'
import { formatManifest, type Manifest, parseManifest } from './manifest.ts'
import type { BundleMap } from './source-map.ts'

export interface BuiltProgram {
  readonly zip: Uint8Array
  /** As it stands in the zip. */
  readonly manifest: Manifest
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
  readonly warnings: readonly string[]
  /** Of a `js` program; no part of the zip. */
  readonly sourceMap: BundleMap | undefined
}

/** The folder whose files a `js` program takes along beside its bundle. */
const staticFolder = 'static'

/**
 * Makes the zip of the program in `dir`. The same files give the same bytes, whatever the directory, the clock, the
 * time zone and the order in which the disk lists them.
 *
 * @throws ProtocolError `program_invalid`, `content_too_large`
 */
export async function buildProgram(dir: string, signal: AbortSignal): Promise<BuiltProgram> {
  const source = await readManifest(dir)
  const { entries, warnings, sourceMap } =
    source.runtime === 'js'
      ? await bundleEntries(dir, source, signal)
      : await treeEntries(dir, source, signal)
  const manifest = { ...source, entry: source.runtime === 'js' ? bundlePath(source.entry) : source.entry }
  const all = [...entries, { path: manifestName, bytes: formatManifest(manifest) }]
  return {
    zip: packZip(all),
    manifest,
    files: all.map(({ path, bytes }) => ({ path, bytes: bytes.byteLength })),
    warnings,
    sourceMap,
  }
}

/** @throws ProtocolError `program_invalid` where `dir` holds no program. */
export async function readManifest(dir: string): Promise<Manifest> {
  const path = join(dir, manifestName)
  const bytes = await readFileBounded(path, limits.manifestBytesMax)
  if (bytes) return parseManifest(bytes, path)
  throw new ProtocolError('program_invalid', `There is no ${manifestName} in ${dir}.`, {
    hint: 'Name the directory of a program, or make one with "khachapuri init".',
  })
}

interface Entries {
  readonly entries: readonly ZipEntry[]
  readonly warnings: readonly string[]
  readonly sourceMap?: BundleMap | undefined
}

async function bundleEntries(dir: string, manifest: Manifest, signal: AbortSignal): Promise<Entries> {
  await assertEntryExists(dir, manifest)
  const { files, warnings, sourceMap } = await bundleProgram({ dir, entry: manifest.entry })
  const folder = join(dir, staticFolder)
  const hasStatic = await stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  )
  const statics = hasStatic ? await readProgramTree(folder, { ignore: ignoredNames(manifest) }, signal) : []
  return {
    entries: [...files, ...statics.map((file) => ({ ...file, path: `${staticFolder}/${file.path}` }))],
    warnings,
    sourceMap,
  }
}

/** A `wasm` or `native` program is its directory. */
async function treeEntries(dir: string, manifest: Manifest, signal: AbortSignal): Promise<Entries> {
  await assertEntryExists(dir, manifest)
  const ignore = [...ignoredNames(manifest), manifestName]
  return { entries: await readProgramTree(dir, { ignore }, signal), warnings: [] }
}

const ignoredNames = ({ exclude }: Manifest): readonly string[] => [...ignoredByDefault, ...exclude]

async function assertEntryExists(dir: string, { entry }: Manifest): Promise<void> {
  const isFile = await stat(join(dir, entry)).then(
    (found) => found.isFile(),
    () => false,
  )
  if (isFile) return
  throw new ProtocolError('program_invalid', `The entry ${entry} is not in ${dir}.`, {
    hint: `Correct "entry" in ${manifestName}.`,
  })
}
