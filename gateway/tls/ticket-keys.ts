import { randomBytes } from 'node:crypto'
import { link, mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../protocol/base/clock.ts'
import { limits } from '../../protocol/limits.ts'

const keyBytes = 48
const prefix = 'ticket-keys.'

/**
 * The keys of TLS session tickets, shared by all processes with the same directory: whoever comes back to another process
 * still resumes. Each day has new ones, and the old ones are gone: what was said in older sessions stays secret.
 *
 * @param dir - Made if it is missing; the files in it have mode 0600.
 */
export async function readTicketKeys({ clock }: { readonly clock: Clock }, dir: string): Promise<Buffer> {
  const name = `${prefix}${Math.floor(clock.nowMs() / limits.tlsTicketKeysAgeMsMax)}`
  const path = join(dir, name)
  await mkdir(dir, { recursive: true, mode: 0o700 })
  const known = await readKeys(path)
  if (known) return known
  await makeKeys(path)
  for (const other of await readdir(dir)) {
    // What another process is writing now has a name of today's.
    if (other.startsWith(prefix) && !other.startsWith(name)) await rm(join(dir, other), { force: true })
  }
  // A process whose clock is a day ahead may have taken them away again.
  return (await readKeys(path)) ?? randomBytes(keyBytes)
}

/** Of several processes that get here, one is first, and the others take what it made. */
async function makeKeys(path: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString('hex')}`
  try {
    await using file = await open(draft, 'wx', 0o600)
    await file.writeFile(randomBytes(keyBytes))
    await file.sync()
    await link(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    await rm(draft, { force: true })
  }
}

async function readKeys(path: string): Promise<Buffer | undefined> {
  try {
    const keys = await readFile(path)
    return keys.length === keyBytes ? keys : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
