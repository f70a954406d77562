import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { limits } from '../../protocol/limits.ts'
import type { CommandContext } from '../command.ts'
import { homeOf, readFileBounded, replaceFile } from '../files.ts'
import type { BundleMap } from '../project/source-map.ts'

type Place = Pick<CommandContext, 'env'>

/** Keeps the map of a program that is deployed, so that its log can name its sources; the oldest maps are forgotten. */
export async function keepBundleMap(
  program: string,
  { path, json }: BundleMap,
  { env }: Place,
): Promise<void> {
  if (json.byteLength > limits.bundleMapBytesMax) return
  const folder = folderOf(env)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await replaceFile(join(folder, fileOf(program)), `${path}\n${Buffer.from(json).toString('utf8')}`)
  const names = (await readdir(folder)).filter((name) => name.endsWith(ending))
  if (names.length <= limits.bundleMapsKeptMax) return
  const aged = await Promise.all(
    names.map(async (name) => ({ name, atMs: (await stat(join(folder, name))).mtimeMs })),
  )
  aged.sort((a, b) => b.atMs - a.atMs)
  for (const { name } of aged.slice(limits.bundleMapsKeptMax)) await rm(join(folder, name), { force: true })
}

/** @param program - The CID of its zip. */
export async function readBundleMap(program: string, { env }: Place): Promise<BundleMap | undefined> {
  const bytes = await readFileBounded(join(folderOf(env), fileOf(program)), 2 * limits.bundleMapBytesMax)
  const pathEnd = bytes?.indexOf(0x0a) ?? -1
  if (!bytes || pathEnd < 0) return undefined
  return { path: Buffer.from(bytes.subarray(0, pathEnd)).toString('utf8'), json: bytes.subarray(pathEnd + 1) }
}

const ending = '.map'
const fileOf = (program: string) => `${program.replaceAll(/[^0-9A-Za-z]/g, '')}${ending}`
const folderOf = (env: Place['env']) => join(homeOf(env), 'versions', 'maps')
