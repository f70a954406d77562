import { Buffer } from 'node:buffer'
import { sha256, toHex } from '../../protocol/base/bytes.ts'
import { encodeCanonicalJson, type Json } from '../../protocol/canonical-json.ts'
import { draftToJson } from '../../protocol/deployment.ts'
import type { ZipEntry } from '../../protocol/ipfs/pack-zip.ts'
import type { Version } from './version-file.ts'

/** What became of one file, setting or secret between two versions. */
export interface Change {
  /** `file`, `env`, `setting` or `provider`. */
  readonly kind: 'file' | 'env' | 'setting' | 'provider'
  readonly name: string
  readonly change: 'added' | 'removed' | 'changed'
  /** Of a setting its value, of a file its bytes and SHA-256; of a secret nothing. */
  readonly before?: Json
  readonly after?: Json
}

/** Fields that differ in any two deploys, or are told in another way. */
const untold = new Set([
  'createdAt',
  'env',
  'providers',
  'program',
  'encrypted',
  'owner',
  'chainId',
  'escrow',
  'version',
])

/** What differs between two versions beside the files: settings, providers and names of secrets, sorted. */
export function compareSettings(a: Version, b: Version): readonly Change[] {
  return [
    ...compareMaps('setting', settingsOf(a), settingsOf(b)),
    ...compareMaps('provider', providersOf(a), providersOf(b)),
    ...compareMaps('env', new Map(Object.entries(a.env)), new Map(Object.entries(b.env))).map(
      ({ kind, name, change }): Change => ({ kind, name, change }),
    ),
  ]
}

/** What differs between the files of two programs, by size and SHA-256. */
export function compareFiles(a: readonly ZipEntry[], b: readonly ZipEntry[]): readonly Change[] {
  return compareMaps('file', filesOf(a), filesOf(b))
}

const filesOf = (files: readonly ZipEntry[]) =>
  new Map<string, Json>(
    files.map(({ path, bytes, executable = false }) => [
      path,
      { bytes: bytes.byteLength, sha256: toHex(sha256(bytes)), ...(executable && { executable }) },
    ]),
  )

const providersOf = ({ providers }: Version) =>
  new Map<string, Json>(providers.map(({ name, address }) => [name, address]))

/** Every field that the owner signed as `limits.memoryMiB` and the like, so that a new field is not forgotten here. */
function settingsOf({ spec, isPublic, encryptedCid }: Version): ReadonlyMap<string, Json> {
  const fields = Object.entries(draftToJson(spec) as Readonly<Record<string, Json>>)
  const flat = fields.filter(([name]) => !untold.has(name)).flatMap(([name, value]) => flatten(name, value))
  return new Map<string, Json>([...flat, ['sealed', !isPublic], ['encryptedProgram', encryptedCid !== null]])
}

function flatten(name: string, value: Json): readonly (readonly [string, Json])[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[name, value]]
  return Object.entries(value).flatMap(([key, inner]) => flatten(`${name}.${key}`, inner as Json))
}

function compareMaps(
  kind: Change['kind'],
  a: ReadonlyMap<string, Json>,
  b: ReadonlyMap<string, Json>,
): readonly Change[] {
  const names = [...new Set([...a.keys(), ...b.keys()])].sort()
  return names.flatMap((name): readonly Change[] => {
    const [before, after] = [a.get(name), b.get(name)]
    if (before === undefined) return [{ kind, name, change: 'added', after: after as Json }]
    if (after === undefined) return [{ kind, name, change: 'removed', before }]
    if (Buffer.compare(encodeCanonicalJson(before), encodeCanonicalJson(after)) === 0) return []
    return [{ kind, name, change: 'changed', before, after }]
  })
}
