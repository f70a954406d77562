import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Name, parseName } from '../../protocol/name.ts'
import { type CommandContext, type Options, usageError } from '../command.ts'
import { homeOf } from '../files.ts'
import { providerDirOf } from '../keys/key-directory.ts'
import { resolvePath } from '../project/packed-program.ts'

/** Which provider of this machine is meant. */
export const providerOptions = {
  domain: { type: 'string', value: '<name>', help: 'The provider, where this machine has several' },
  dir: {
    type: 'string',
    value: '<dir>',
    help: 'Keys, books and content (default ~/.khachapuri/providers/<name>)',
  },
} as const satisfies Options

interface ProviderFlags {
  readonly domain?: string | undefined
  readonly dir?: string | undefined
}

/** Where the provider of this name keeps its things, unless it is told otherwise. */
export function providerDir(
  { name, dir }: { name: Name; dir: string | undefined },
  { cwd, env }: CommandContext,
): string {
  return dir === undefined ? providerDirOf(env, name) : resolvePath(cwd, dir)
}

/** The directory of the provider that the flags mean: the only one of this user, unless they say. */
export async function findProviderDir(
  { domain, dir }: ProviderFlags,
  context: CommandContext,
): Promise<string> {
  if (dir !== undefined) {
    const path = resolvePath(context.cwd, dir)
    if ((await stat(path).catch(() => undefined))?.isDirectory()) return path
    throw usageError(
      `There is no provider in ${path}.`,
      'Say where it keeps its things; "provider up" makes one.',
    )
  }
  const parent = join(homeOf(context.env), 'providers')
  const names = await readdir(parent).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return []
  })
  const name = domain === undefined ? names : names.filter((each) => each === parseName(domain))
  const [only] = name
  if (only !== undefined && name.length === 1) return join(parent, only)
  throw usageError(
    names.length === 0 || domain !== undefined
      ? `There is no provider${domain === undefined ? '' : ` "${domain}"`} in ${parent}.`
      : `There are several providers here: ${names.join(', ')}.`,
    'Say which with --domain <name> or --dir <dir>; "provider up" makes one.',
  )
}
