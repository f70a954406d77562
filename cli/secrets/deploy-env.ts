import type { LocalAccount } from 'viem'
import { type CommandContext, usageError } from '../command.ts'
import { type Env, readEnvFile } from '../project/env-file.ts'
import { resolvePath } from '../project/packed-program.ts'
import { openSecrets } from './secret-file.ts'

/** The secrets of one deploy, and where they come from. */
export interface DeployEnv {
  readonly env: Env
  /** For people: `2 secrets of …/.env and 1 secret of "secret put"`; empty where there are none. */
  readonly origin: string
}

export interface EnvFlags {
  readonly 'env-file'?: string | undefined
  readonly 'no-env'?: boolean | undefined
}

/** The flags of commands that seal secrets. */
export const envOptions = {
  'env-file': {
    type: 'string',
    value: '<file>',
    help: 'Secrets (default: .env or secret in the directory)',
  },
  'no-env': { type: 'boolean', help: 'Take no secrets along' },
} as const

/**
 * Gathers the secrets of a deploy: from the env file, and those that were put for the project. What was put wins: it was
 * meant for deploys, and the file is also that of `run` and `dev`.
 *
 * @throws ProtocolError `config_invalid`, `keystore_locked`
 */
export async function gatherEnv(
  {
    path,
    project,
    account,
  }: { readonly path: string; readonly project: string; readonly account: LocalAccount },
  flags: EnvFlags,
  context: CommandContext,
): Promise<DeployEnv> {
  if (flags['no-env']) return { env: {}, origin: '' }
  const named = flags['env-file']
  const file = await readEnvFile(
    named === undefined ? { dir: resolvePath(context.cwd, path) } : { path: resolvePath(context.cwd, named) },
  )
  const put = await openSecrets(project, account, context)
  const names = Object.keys(put)
  const both = names.filter((name) => Object.hasOwn(file?.env ?? {}, name))
  if (both.length > 0)
    context.note(`${both.join(', ')}: what "khachapuri secret put" was given, not what ${file?.path} has.`)
  const ofFile = Object.keys(file?.env ?? {}).length - both.length
  const origin = [
    ...(file && ofFile > 0 ? [`${countSecrets(ofFile)} of ${file.path}`] : []),
    ...(names.length > 0 ? [`${countSecrets(names.length)} of "secret put"`] : []),
  ].join(' and ')
  return { env: { ...file?.env, ...put }, origin }
}

export const countSecrets = (count: number): string => (count === 1 ? '1 secret' : `${count} secrets`)

/** @throws ProtocolError `usage_invalid` where secrets would be published */
export function assertNothingSecret({ env, origin }: DeployEnv): void {
  if (Object.keys(env).length === 0) return
  throw usageError(
    `With --public the whole world could read ${origin}.`,
    'Leave --public out to seal them for the providers, or add --no-env.',
  )
}
