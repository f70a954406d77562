import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha256 } from '../../protocol/base/bytes.ts'
import { digestOfCid, parseContentCid } from '../../protocol/ipfs/cid.ts'

/** Flips one bit of a raw block in a store on disk, as a rotting disk would. @returns what undoes it */
export async function damageBlock(storeDir: string, cid: string): Promise<() => Promise<void>> {
  const digest = digestOfCid(parseContentCid(cid))
  for (const entry of await readdir(storeDir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    const bytes = await readFile(path)
    if (Buffer.compare(sha256(bytes), digest) !== 0) continue
    const damaged = Buffer.from(bytes)
    damaged[damaged.byteLength >> 1]! ^= 1
    await writeFile(path, damaged)
    return () => writeFile(path, bytes)
  }
  throw new Error(`${storeDir} does not hold ${cid}.`)
}
