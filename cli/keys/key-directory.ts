import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ProtocolError } from '../../protocol/errors.ts'
import { type Keystore, parseKeystore } from '../../protocol/keystore.ts'
import { limits } from '../../protocol/limits.ts'
import { usageError } from '../command.ts'
import { homeOf, readFileBounded } from '../files.ts'

/** A directory of keystore files, `<account>.json`, that only its user can read. */
export interface KeyDirectory {
  readonly path: string
}

const accountPattern = /^[a-z0-9][a-z0-9_-]{0,62}$/

/** Reads an account's name, which becomes a file name. @throws ProtocolError `usage_invalid` */
export function parseAccountName(text: string): string {
  if (accountPattern.test(text)) return text
  throw usageError(
    `"${text.slice(0, 80)}" is not a name for an account.`,
    'Use up to 63 lower-case letters, digits, "-" and "_".',
  )
}

export function keyFile({ path }: KeyDirectory, account: string): string {
  return join(path, `${account}.json`)
}

/** The names of the accounts, sorted; none where the directory is missing. */
export async function listAccounts({ path }: KeyDirectory): Promise<readonly string[]> {
  const names = await readdir(path).catch(() => [])
  return names
    .filter((name) => name.endsWith('.json') && accountPattern.test(name.slice(0, -5)))
    .map((name) => name.slice(0, -5))
    .sort()
}

/** @returns undefined where there is no such account. */
export async function readKeystore(directory: KeyDirectory, account: string): Promise<Keystore | undefined> {
  const bytes = await readFileBounded(keyFile(directory, account), limits.keystoreFileBytesMax)
  return bytes && parseKeystore(bytes)
}

/** Writes a new account; never over an old one. @throws ProtocolError `config_invalid` */
export async function writeKeystore(directory: KeyDirectory, account: string, text: string): Promise<string> {
  const path = keyFile(directory, account)
  await mkdir(directory.path, { recursive: true, mode: 0o700 })
  try {
    await writeFile(path, text, { mode: 0o600, flag: 'wx' })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new ProtocolError('config_invalid', `There is already an account "${account}" at ${path}.`, {
      hint: 'Choose another name; a key is never overwritten.',
      cause,
    })
  }
  return path
}

/** The one account in a provider's own directory of keys. */
export const providerAccountName = 'account'

/** The keys of a provider that keeps its things in `dir`. */
export const providerKeysIn = (dir: string): KeyDirectory => ({ path: join(dir, 'keys') })

/** The directory of a provider of this user, whose account bears its name. */
export const providerDirOf = (env: Readonly<Record<string, string | undefined>>, name: string): string =>
  join(homeOf(env), 'providers', name)

/** Beside keys that have to open unattended. */
export const passwordFileOf = ({ path }: KeyDirectory): string => join(path, 'password')

/** The user's own keys. */
export function keyDirectoryOf(env: Readonly<Record<string, string | undefined>>): KeyDirectory {
  return { path: join(homeOf(env), 'keys') }
}

/** A keystore of this user, by the name under which `--account` finds it. */
export interface OwnKeystore {
  readonly name: string
  readonly directory: KeyDirectory
  /** The account's name in that directory. */
  readonly file: string
  readonly keystore: Keystore
  /** A provider's opens unattended, where its password lies beside it. */
  readonly passwordFile?: string
}

/** An account of the user's own keys, else that of a provider of this user; undefined where there is neither. */
export async function findOwnKeystore(
  env: Readonly<Record<string, string | undefined>>,
  name: string,
): Promise<OwnKeystore | undefined> {
  const own = keyDirectoryOf(env)
  const keystore = await readKeystore(own, name)
  if (keystore) return { name, directory: own, file: name, keystore }
  const directory = providerKeysIn(providerDirOf(env, name))
  const ofProvider = await readKeystore(directory, providerAccountName)
  if (!ofProvider) return undefined
  const passwordFile = passwordFileOf(directory)
  return { name, directory, file: providerAccountName, keystore: ofProvider, passwordFile }
}

/** All that `findOwnKeystore` finds: the user's own first, then those of providers, sorted. */
export async function listKeystores(
  env: Readonly<Record<string, string | undefined>>,
): Promise<readonly OwnKeystore[]> {
  const own = await listAccounts(keyDirectoryOf(env))
  const providers = await readdir(join(homeOf(env), 'providers')).catch(() => [])
  const names = [...own, ...providers.filter((name) => !own.includes(name)).sort()]
  const found = await Promise.all(names.map((name) => findOwnKeystore(env, name)))
  return found.filter((each) => each !== undefined)
}
