import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { parseJson } from '../protocol/canonical-json.ts'
import { ProtocolError } from '../protocol/errors.ts'
import { limits } from '../protocol/limits.ts'
import { describeIssues, usdcSchema } from '../protocol/schema.ts'
import type { Usdc } from '../protocol/usdc.ts'
import { writeDurably } from './durable-file.ts'

const settingsSchema = z.strictObject({
  /** Price of one call, in base units. */
  priceUsdc: usdcSchema.optional(),
  endpoint: z.string().max(limits.serverUrlBytesMax).optional(),
})

/** What its operator changed while the provider was there, and what holds at its next start unless a flag says else. */
export interface ProviderSettings {
  readonly priceUsdc?: Usdc | undefined
  /** Where callers are to come: an origin, or `ws(s)://…/_/tunnel` of a gateway. */
  readonly endpoint?: string | undefined
}

const fileName = 'settings.json'

/** @returns nothing set where there is no file. @throws ProtocolError `config_invalid` */
export async function readSettings(dir: string): Promise<ProviderSettings> {
  const path = join(dir, fileName)
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return undefined
  })
  if (!bytes) return {}
  const parsed = settingsSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError(
    'config_invalid',
    `${path} does not hold a provider's settings: ${describeIssues(parsed.error)}`,
    { hint: 'Mend it, or move it away: flags of "provider up" say the same.' },
  )
}

/** Changes some settings and keeps the others. */
export async function changeSettings(dir: string, changes: ProviderSettings): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const { priceUsdc, endpoint } = { ...(await readSettings(dir)), ...changes }
  const settings = {
    ...(priceUsdc !== undefined && { priceUsdc: priceUsdc.toString() }),
    ...(endpoint !== undefined && { endpoint }),
  }
  await writeDurably(join(dir, fileName), `${JSON.stringify(settings, undefined, 2)}\n`)
}
