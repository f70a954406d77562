import { dirname, join } from 'node:path'
import { z } from 'zod'
import { parseJson } from '../../protocol/canonical-json.ts'
import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import { addressSchema, describeIssues } from '../../protocol/schema.ts'
import { readFileBounded } from '../files.ts'

const httpUrl = z.url({ protocol: /^https?$/ })

const marketFileSchema = z.object({
  gateway: httpUrl,
  rpc: httpUrl,
  chainId: z.int().min(1),
  /** The file of its domains, of which name servers know nothing. */
  zone: z.string().max(4096).optional(),
  contracts: z.object({ usdc: addressSchema, escrow: addressSchema, registry: addressSchema }),
})

/** What `npm start` writes when its market is ready, as far as the command line needs it. */
export type MarketFile = z.output<typeof marketFileSchema> & {
  /** The file's own folder; `keystore/` in it holds the market's worthless keys. */
  readonly folder: string
}

/**
 * Finds the market that runs in `cwd` or above it.
 *
 * @returns undefined where there is none.
 * @throws ProtocolError `config_invalid` for a file that says something else.
 */
export async function findMarketFile(cwd: string): Promise<MarketFile | undefined> {
  for (let dir = cwd; ; dir = dirname(dir)) {
    const folder = join(dir, '.khachapuri')
    const bytes = await readFileBounded(join(folder, 'market.json'), limits.stateFileBytesMax)
    if (bytes) return { ...parseMarketFile(bytes, folder), folder }
    if (dir === dirname(dir)) return undefined
  }
}

function parseMarketFile(bytes: Uint8Array, folder: string): z.output<typeof marketFileSchema> {
  const parsed = marketFileSchema.safeParse(parseJson(bytes))
  if (parsed.success) return parsed.data
  throw new ProtocolError(
    'config_invalid',
    `${join(folder, 'market.json')} does not describe a market: ${describeIssues(parsed.error)}`,
    { hint: 'Start the market again with "npm start".' },
  )
}
