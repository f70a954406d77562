import { type DevZone, parseDevZone } from '../../protocol/dev-zone.ts'
import { limits } from '../../protocol/limits.ts'
import { readFileBounded, replaceFile } from '../files.ts'

/** Changes the domains of a local market, whose gateway reads them from this file. */
export async function changeDevZone(path: string, change: (zone: DevZone) => DevZone): Promise<void> {
  const bytes = await readFileBounded(path, limits.stateFileBytesMax)
  const zone = change(bytes ? parseDevZone(bytes) : {})
  await replaceFile(path, `${JSON.stringify(zone, null, 2)}\n`)
}
