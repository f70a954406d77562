import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Address } from 'viem'
import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { addressSchema, hexSchema, secondsSchema, usdcSchema } from '../../protocol/schema.ts'
import type { CommandContext } from '../command.ts'
import { homeOf, readFileBounded, replaceFile } from '../files.ts'
import { takeLock } from '../lock-file.ts'

const recordSchema = z.strictObject({
  id: hexSchema(32),
  payer: addressSchema,
  providers: z.array(
    z.strictObject({
      name: z.string().max(limits.nameBytesMax),
      address: addressSchema,
      /** When this provider was told that the pass is revoked; null while it was not. Seconds since 1970. */
      revokedAt: secondsSchema.nullable(),
    }),
  ),
  deployment: hexSchema(32),
  maxPricePerCall: usdcSchema,
  maxSpend: usdcSchema,
  createdAt: secondsSchema,
  validBefore: secondsSchema,
})

/** A pass that was made here, without its token: whoever reads the file can pay for nothing. */
export type PassRecord = z.output<typeof recordSchema>

/** By market. */
const fileSchema = z.record(z.string(), z.array(recordSchema))

type Env = Pick<CommandContext, 'env' | 'clock' | 'signal'>

/** The passes of a market that were made by this user, oldest first. @throws ProtocolError `config_invalid` */
export async function readPassRecords(market: string, { env }: Env): Promise<readonly PassRecord[]> {
  return (await readAll(pathOf(env)))[market] ?? []
}

/** Keeps a new pass. @returns false where there is no room for another one */
export async function addPassRecord(market: string, record: PassRecord, context: Env): Promise<boolean> {
  const nowSeconds = Math.floor(context.clock.nowMs() / 1000)
  let isKept = false
  await change(context, (all) => {
    const live = (all[market] ?? []).filter(({ validBefore }) => validBefore > nowSeconds - keptSeconds)
    isKept = live.length < limits.passRecordsMax
    return { ...all, [market]: isKept ? [...live, record] : live }
  })
  return isKept
}

/** Remembers which providers know that a pass is revoked. */
export async function markRevoked(
  market: string,
  { id, providers }: { readonly id: string; readonly providers: readonly Address[] },
  context: Env,
): Promise<void> {
  const nowSeconds = Math.floor(context.clock.nowMs() / 1000)
  await change(context, (all) => ({
    ...all,
    [market]: (all[market] ?? []).map((record) =>
      record.id !== id
        ? record
        : {
            ...record,
            providers: record.providers.map((provider) =>
              providers.includes(provider.address) ? { ...provider, revokedAt: nowSeconds } : provider,
            ),
          },
    ),
  }))
}

/** For how long a pass that has ended is still listed. */
const keptSeconds = 30 * 86_400

type Records = Readonly<Record<string, readonly PassRecord[]>>

async function change(context: Env, next: (all: Records) => Records): Promise<void> {
  await mkdir(homeOf(context.env), { recursive: true, mode: 0o700 })
  const path = pathOf(context.env)
  await using _lock = await takeLock(`${path}.lock`, context)
  const text = JSON.stringify(
    next(await readAll(path)),
    (_key, value) => (typeof value === 'bigint' ? value.toString() : value),
    2,
  )
  await replaceFile(path, `${text}\n`)
}

async function readAll(path: string): Promise<Records> {
  const bytes = await readFileBounded(path, limits.passRecordsBytesMax)
  if (!bytes) return {}
  const parsed = fileSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError('config_invalid', `${path} does not hold passes.`, {
    hint: 'Mend it or move it away; passes can be revoked without it, by id and --provider.',
  })
}

const pathOf = (env: Env['env']) => join(homeOf(env), 'passes.json')
