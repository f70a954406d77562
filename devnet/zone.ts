import { readFile, stat } from 'node:fs/promises'
import { parseDevZone } from '../protocol/dev-zone.ts'
import { domainRecordName } from '../protocol/ipfs/domain-record.ts'
import { limits } from '../protocol/limits.ts'

/** Answers for the domains of a market on one machine from its file, and asks no name server anything. */
export function createZoneLookup(path: string): (host: string) => Promise<readonly string[]> {
  return async (host) => {
    const zone = parseDevZone(await readZone(path))
    const domain = Object.keys(zone).find((name) => domainRecordName(name) === host)
    return domain === undefined ? [] : [zone[domain] ?? '']
  }
}

async function readZone(path: string): Promise<Uint8Array> {
  try {
    const { size } = await stat(path)
    return size > limits.stateFileBytesMax ? new Uint8Array() : await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return new Uint8Array()
    throw error
  }
}
