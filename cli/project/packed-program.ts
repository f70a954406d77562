import { stat } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { toHex } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { digestOfCid } from '../../protocol/ipfs/cid.ts'
import { cidOfFile } from '../../protocol/ipfs/import-file.ts'
import type { ZipEntry } from '../../protocol/ipfs/pack-zip.ts'
import { readZip } from '../../protocol/ipfs/unpack-zip.ts'
import { limits } from '../../protocol/limits.ts'
import { hashProgram, manifestName, type Params, type ProgramId } from '../../protocol/program.ts'
import type { CommandContext } from '../command.ts'
import { readFileBounded } from '../files.ts'
import { buildProgram } from './build.ts'
import { type Manifest, parseManifest } from './manifest.ts'
import type { BundleMap } from './source-map.ts'

/** A program's zip, read under the same strict rules under which a provider reads it. */
export interface PackedProgram {
  readonly zip: Uint8Array
  readonly manifest: Manifest
  readonly files: readonly ZipEntry[]
  /** Where it was bundled just now. */
  readonly sourceMap?: BundleMap | undefined
}

export interface ProgramIds {
  /** The zip's CID. */
  readonly program: string
  /** The SHA-256 in that CID. */
  readonly programDigest: string
  readonly programId: ProgramId
}

/** Computes what names a program, without a network. */
export async function computeIds(zip: Uint8Array, params: Params): Promise<ProgramIds> {
  const cid = await cidOfFile(zip)
  const programDigest = digestOfCid(cid)
  return {
    program: cid.toString(),
    programDigest: toHex(programDigest),
    programId: hashProgram({ programDigest, params }),
  }
}

/** Opens a program, be it a directory, which is built first, or a zip. @throws ProtocolError `program_invalid` */
export async function openProgram(
  path: string,
  { cwd, note, signal }: CommandContext,
): Promise<PackedProgram> {
  const absolute = resolvePath(cwd, path)
  const found = await stat(absolute).catch(() => undefined)
  if (!found?.isDirectory()) return readProgramZip(absolute, signal)
  const { zip, warnings, sourceMap } = await buildProgram(absolute, signal)
  for (const warning of warnings) note(`Warning: ${warning.trim()}`)
  return { ...(await parseProgramZip(zip, signal)), sourceMap }
}

/** @throws ProtocolError `program_invalid`, `content_too_large` */
export async function readProgramZip(path: string, signal: AbortSignal): Promise<PackedProgram> {
  const zip = await readFileBounded(path, limits.zipBytesMax)
  if (zip) return parseProgramZip(zip, signal)
  throw noProgram(path)
}

export function noProgram(path: string): ProtocolError {
  return new ProtocolError('program_invalid', `There is no program at ${path}.`, {
    hint: 'Name a directory with a khachapuri.json, or a zip that "khachapuri build" made.',
  })
}

async function parseProgramZip(zip: Uint8Array, signal: AbortSignal): Promise<PackedProgram> {
  const files = await readZip(zip, signal)
  const manifest = files.find(({ path }) => path === manifestName)
  if (manifest) return { zip, files, manifest: parseManifest(manifest.bytes, `${manifestName} in the zip`) }
  throw new ProtocolError('program_invalid', `The zip has no ${manifestName}.`, {
    hint: 'Make it with "khachapuri build", or add the manifest to its root.',
  })
}

export function resolvePath(cwd: string, path: string): string {
  return isAbsolute(path) ? path : join(cwd, path)
}
