import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { Clock } from '../../protocol/base/clock.ts'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { addressSchema, usdcSchema } from '../../protocol/schema.ts'
import { formatVoucher, parseVoucher } from '../../protocol/voucher.ts'
import type { VoucherTab } from '../../protocol/voucher-client.ts'
import type { TabStore } from '../../protocol/voucher-session.ts'
import { homeOf, readFileBounded, replaceFile } from '../files.ts'
import { takeLock } from '../lock-file.ts'

const totalsSchema = z.strictObject({ amountUsdc: usdcSchema, calls: z.number().int().min(0) })

const tabSchema = z.strictObject({
  payer: addressSchema,
  provider: addressSchema,
  signer: addressSchema,
  epoch: z.number().int().min(0).max(255),
  /** Without its access, which the key makes again. */
  signed: z.string().max(limits.voucherBytesMax).nullable(),
  most: totalsSchema,
  claimed: totalsSchema,
  open: z.array(z.strictObject({ id: z.string().max(64), quoteUsdc: usdcSchema, sinceMs: z.number() })),
  sessionUsdc: usdcSchema,
  isFresh: z.boolean(),
  handedOut: totalsSchema.optional(),
  broken: z.string().nullable(),
})

const fileSchema = z.record(z.string(), tabSchema)
type TabFile = z.output<typeof fileSchema>

export interface TabFileDeps {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  readonly signal: AbortSignal
}

/**
 * A tab in `vouchers.json` of the user's own directory. Commands that run at the same time share it: each changes it under
 * a lock, and a reader never sees half of it.
 *
 * @param key - Which tab: its market, payer, provider and signer.
 * @param first - What the tab is where the file has none.
 */
export function createTabFile(deps: TabFileDeps, key: string, first: () => Promise<VoucherTab>): TabStore {
  const path = join(homeOf(deps.env), 'vouchers.json')
  return {
    async update(change) {
      await mkdir(homeOf(deps.env), { recursive: true, mode: 0o700 })
      await using _lock = await takeLock(`${path}.lock`, deps)
      const tabs = await readTabs(path)
      const known = tabs[key]
      const { tab, result } = change(known ? fromFile(known) : await first())
      await writeTabs(path, { ...tabs, [key]: toFile(tab) })
      return result
    },
  }
}

async function readTabs(path: string): Promise<TabFile> {
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  if (!bytes) return {}
  const parsed = fileSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError('config_invalid', `${path} does not hold what was signed.`, {
    hint: 'Move it away: providers then show your own last vouchers, and calls go on from there.',
  })
}

async function writeTabs(path: string, tabs: TabFile): Promise<void> {
  const text = JSON.stringify(
    tabs,
    (_key, value) => (typeof value === 'bigint' ? value.toString() : value),
    2,
  )
  await replaceFile(path, `${text}\n`)
}

const toFile = ({ signed, broken, open, ...tab }: VoucherTab): z.output<typeof tabSchema> => ({
  ...tab,
  open: [...open],
  signed: signed ? formatVoucher(signed) : null,
  broken: broken ?? null,
})

const fromFile = ({ signed, broken, ...tab }: z.output<typeof tabSchema>): VoucherTab => ({
  ...tab,
  signed: signed === null ? undefined : parseVoucher(signed),
  broken: broken ?? undefined,
})
