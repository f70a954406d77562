import { createHmac } from 'node:crypto'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Address } from 'viem'
import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { type DeploymentDraft, draftToJson, readDraft } from '../../protocol/deployment.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { addressSchema, hexSchema, usdcSchema } from '../../protocol/schema.ts'
import type { CommandContext } from '../command.ts'
import { homeOf, readFileBounded, replaceFile } from '../files.ts'
import { takeLock } from '../lock-file.ts'
import type { Env } from '../project/env-file.ts'

const cidSchema = z.string().max(limits.cidBytesMax)

const versionSchema = z.strictObject({
  /** Which market, as `marketKey` says it. */
  market: z.string().max(256),
  /** 1, 2, … of a project, in one market, by one owner. */
  number: z.int().min(1),
  deployment: cidSchema,
  programId: hexSchema(32),
  zipBytes: z.int().min(0),
  /** What the owner signed, but for the env, which is empty here, and for the key of an encrypted program. */
  spec: z
    .custom<DeploymentDraft>((value) => readDraft(value) !== undefined, 'Expected a spec')
    .transform(toSpec),
  /** Keyed digests of the values by name: whether a value changed can be told, and nothing else. */
  env: z.record(z.string(), z.string().max(64)),
  isPublic: z.boolean(),
  /** Of the encrypted zip, where it is. */
  encryptedCid: cidSchema.nullable(),
  /** With what each asked for a call then; null for one that did not answer. */
  providers: z.array(
    z.strictObject({
      name: z.string().max(limits.nameBytesMax),
      address: addressSchema,
      priceUsdc: usdcSchema.nullable(),
    }),
  ),
  keeper: z.url(),
  message: z.string().max(limits.versionMessageCharsMax).nullable(),
  /** The directory or zip that it was made from, or the number of the version that it brings back. */
  from: z.union([z.string().max(4096), z.int().min(1)]),
})

/** One deploy of a project, as its developer remembers it. No secret is in it. */
export type Version = z.output<typeof versionSchema>

function toSpec(value: unknown): DeploymentDraft {
  return readDraft(value) as DeploymentDraft
}

const fileSchema = z.array(versionSchema)

/** Whose versions, and where. */
export interface VersionOwner {
  readonly market: string
  readonly owner: Address
}

/** Whose versions of what. */
export interface VersionKey extends VersionOwner {
  /** The manifest's name. */
  readonly project: string
}

type Place = Pick<CommandContext, 'env' | 'clock' | 'signal'>

/** The versions of a project, the oldest first. @throws ProtocolError `config_invalid` */
export async function readVersions(
  key: VersionKey,
  { env }: Pick<Place, 'env'>,
): Promise<readonly Version[]> {
  return (await readAll(pathOf(env, key.project))).filter(isOf(key))
}

/** The version that is called by a CID, whatever its project. @throws ProtocolError `config_invalid` */
export async function readVersionByCid(
  cid: string,
  owned: VersionOwner,
  { env }: Pick<Place, 'env'>,
): Promise<Version | undefined> {
  const folder = folderOf(env)
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    throw error
  })
  for (const name of names.filter((name) => name.endsWith(fileEnding))) {
    const versions = (await readAll(join(folder, name))).filter(isOf(owned))
    const found = versions.find(({ deployment }) => deployment === cid)
    if (found) return found
  }
  return undefined
}

/**
 * Keeps a deploy; the oldest are forgotten beyond the limits.
 *
 * @returns it, with its number
 */
export async function addVersion(
  { project, market, owner }: VersionKey,
  version: Omit<Version, 'market' | 'number'>,
  context: Place,
): Promise<Version> {
  const path = pathOf(context.env, project)
  await mkdir(join(path, '..'), { recursive: true, mode: 0o700 })
  await using _lock = await takeLock(`${path}.lock`, context)
  const all = await readAll(path)
  const own = all.filter(isOf({ market, owner }))
  const added = { ...version, market, number: (own.at(-1)?.number ?? 0) + 1 }
  const forgotten = new Set(own.slice(0, Math.max(0, own.length + 1 - limits.versionsKeptMax)))
  const texts = [...all.filter((one) => !forgotten.has(one)), added].map(formatVersion)
  let bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 2, 4)
  while (bytes > limits.versionsFileBytesMax && texts.length > 1)
    bytes -= Buffer.byteLength(texts.shift() as string) + 2
  await replaceFile(path, `[\n${texts.join(',\n')}\n]\n`)
  return added
}

/** @throws ProtocolError `version_unknown` with those that there are */
export function findVersion(versions: readonly Version[], number: number): Version {
  const found = versions.find((version) => version.number === number)
  if (found) return found
  const [first, last] = [versions[0]?.number, versions.at(-1)?.number]
  throw new ProtocolError('version_unknown', `There is no version ${number} here.`, {
    hint:
      first === undefined
        ? 'Nothing was deployed yet.'
        : `There are ${first} to ${last}; see "khachapuri versions".`,
  })
}

/**
 * Digests of an env's values, by name.
 *
 * @param key - A secret: without it, short values could be guessed.
 */
export function digestEnv(env: Env, key: Uint8Array): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(env).map(([name, value]) => [
      name,
      createHmac('sha256', key).update(`${name}\0${value}`).digest('hex').slice(0, 32),
    ]),
  )
}

const isOf =
  ({ market, owner }: VersionOwner) =>
  (version: Version) =>
    version.market === market && version.spec.owner === owner

function formatVersion({ spec, ...version }: Version): string {
  const { encrypted: _, ...rest } = spec
  return JSON.stringify({ ...version, spec: draftToJson({ ...rest, env: {} }) }, (_key, value) =>
    typeof value === 'bigint' ? value.toString() : value,
  )
}

async function readAll(path: string): Promise<readonly Version[]> {
  const bytes = await readFileBounded(path, limits.versionsFileBytesMax)
  if (!bytes) return []
  const parsed = fileSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError('config_invalid', `${path} does not hold versions.`, {
    hint: 'Mend it or move it away; what was deployed is not touched by that.',
  })
}

/** A manifest's name is safe as that of a file. */
const pathOf = (env: Place['env'], project: string) => join(folderOf(env), `${project}${fileEnding}`)
const folderOf = (env: Place['env']) => join(homeOf(env), 'versions')
const fileEnding = '.json'
