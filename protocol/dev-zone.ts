import { z } from 'zod'
import { parseJson } from './canonical-json.ts'
import { limits } from './limits.ts'

/**
 * The domains of a market on one machine, which has no name servers: domain → its one TXT record at `_khachapuri.<domain>`.
 * A file of the market, as a hosts file is one of a machine.
 */
export const devZoneSchema = z.record(z.string().max(253), z.string().max(limits.domainRecordBytesMax))
export type DevZone = z.output<typeof devZoneSchema>

/** @returns an empty one for what is none. */
export function parseDevZone(bytes: Uint8Array): DevZone {
  const parsed = devZoneSchema.safeParse(parseJson(bytes))
  return parsed.success ? parsed.data : {}
}
