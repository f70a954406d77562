import { join } from 'node:path'
import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { homeOf, readFileBounded } from '../files.ts'

const httpUrl = z.url({ protocol: /^https?$/ })

const settingsSchema = z.strictObject({
  gateway: httpUrl.optional(),
  rpc: httpUrl.optional(),
  /** The account that is used where none is named. */
  account: z.string().optional(),
})

/** What a user settled once: `config.json` of the own directory, under the environment's `KHACHAPURI_…`. */
export type Settings = z.output<typeof settingsSchema>

/** @throws ProtocolError `config_invalid` with everything that is wrong */
export async function readSettings(env: Readonly<Record<string, string | undefined>>): Promise<Settings> {
  const path = join(homeOf(env), 'config.json')
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  const fromFile = bytes ? parseSettings(parseJson(bytes), path) : {}
  const fromEnv = {
    gateway: env['KHACHAPURI_GATEWAY'] || undefined,
    rpc: env['KHACHAPURI_RPC'] || undefined,
    account: env['KHACHAPURI_ACCOUNT'] || undefined,
  }
  return { ...fromFile, ...parseSettings(withoutUndefined(fromEnv), 'The environment (KHACHAPURI_…)') }
}

function parseSettings(value: unknown, where: string): Settings {
  const parsed = settingsSchema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new ProtocolError('config_invalid', `${where} is not valid: ${describeIssues(parsed.error)}`, {
    hint: 'Known are "gateway", "rpc" (both http or https) and "account".',
  })
}

const withoutUndefined = (value: object): object =>
  Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined))
