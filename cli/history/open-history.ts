import { stat } from 'node:fs/promises'
import type { CommandContext } from '../command.ts'
import { readAccountAddress } from '../keys/account.ts'
import { type OpenMarket, openMarket } from '../market/open.ts'
import type { AccountFlags, MarketFlags } from '../market/options.ts'
import { marketKey } from '../market/resolve-provider.ts'
import { readManifest } from '../project/build.ts'
import { readProgramZip, resolvePath } from '../project/packed-program.ts'
import { readVersions, type Version, type VersionKey } from './version-file.ts'

/** The versions of one project, in one market, of one account. */
export interface History extends OpenMarket {
  readonly key: VersionKey
  /** The oldest first. */
  readonly versions: readonly Version[]
}

/** A project's name: that in the manifest of a directory, which is not built, or of a zip. @throws ProtocolError `program_invalid` */
export async function readProjectName(path: string, { cwd, signal }: CommandContext): Promise<string> {
  const absolute = resolvePath(cwd, path)
  const isDirectory = await stat(absolute).then(
    (found) => found.isDirectory(),
    () => true,
  )
  if (isDirectory) return (await readManifest(absolute)).name
  return (await readProgramZip(absolute, signal)).manifest.name
}

/** Reads what was deployed under a project's name; needs no key. */
export async function openHistory(
  project: string,
  flags: MarketFlags & AccountFlags,
  context: CommandContext,
): Promise<History> {
  const at = await openMarket(flags, context)
  const owner = await readAccountAddress(undefined, flags, at.market, context)
  const key = { project, market: await marketKey(at, context.signal), owner }
  return { ...at, key, versions: await readVersions(key, context) }
}

/** The flag that says which project is meant where the words of a command are versions. */
export const dirOptions = {
  dir: { type: 'string', value: '<dir|zip>', default: '.', help: 'The program, by its directory or its zip' },
} as const
