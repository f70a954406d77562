import { randomUUID } from 'node:crypto'
import { rename, writeFile } from 'node:fs/promises'
import { type DevZone, parseDevZone } from '../../protocol/dev-zone.ts'
import { limits } from '../../protocol/limits.ts'
import { readFileBounded } from '../files.ts'

/** Changes the domains of a local market, whose gateway reads them from this file. */
export async function changeDevZone(path: string, change: (zone: DevZone) => DevZone): Promise<void> {
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  const zone = change(bytes ? parseDevZone(bytes) : {})
  const draft = `${path}.${randomUUID()}`
  await writeFile(draft, `${JSON.stringify(zone, null, 2)}\n`)
  await rename(draft, path)
}
