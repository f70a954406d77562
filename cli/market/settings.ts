import { join } from 'node:path'
import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { describeIssues } from '../../protocol/schema.ts'
import { homeOf, readFileBounded } from '../files.ts'

const httpUrl = z.url({ protocol: /^https?$/ })

/** Several stand with commas between. */
const httpUrls = z
  .string()
  .refine((text) => text.split(',').every((part) => httpUrl.safeParse(part.trim()).success), 'Invalid URL')

const settingsSchema = z.strictObject({
  gateway: httpUrl.optional(),
  rpc: httpUrls.optional(),
  /** The account that is used where none is named. */
  account: z.string().optional(),
})

/** What a user settled once, so that it need not be a flag. */
export type Settings = z.output<typeof settingsSchema>

type Environment = Readonly<Record<string, string | undefined>>

/** The variables `KHACHAPURI_GATEWAY`, `…_RPC` and `…_ACCOUNT`. @throws ProtocolError `config_invalid` */
export function readEnvSettings(env: Environment): Settings {
  const given = {
    gateway: env['KHACHAPURI_GATEWAY'] || undefined,
    rpc: env['KHACHAPURI_RPC'] || undefined,
    account: env['KHACHAPURI_ACCOUNT'] || undefined,
  }
  return parseSettings(withoutUndefined(given), 'The environment (KHACHAPURI_…)')
}

/** `config.json` of the user's own directory. @throws ProtocolError `config_invalid` */
export async function readSettingsFile(env: Environment): Promise<Settings> {
  const path = join(homeOf(env), 'config.json')
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  return bytes ? parseSettings(parseJson(bytes), path) : {}
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
