import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { isProtocolError } from '../errors.ts'
import type { ZipEntry } from './pack-zip.ts'
import { pathRefused } from './path-rules.ts'
import { readZipDirectory, type ZipDirectory, type ZipFileEntry } from './zip-directory.ts'

/**
 * Unpacks a program's zip in memory.
 *
 * @throws ProtocolError `program_invalid`, `content_too_large`
 */
export async function readZip(bytes: Uint8Array, signal: AbortSignal): Promise<readonly ZipEntry[]> {
  const { zip, files } = await readZipDirectory(bytes, signal)
  const entries: ZipEntry[] = []
  for (const file of files) {
    const content = Buffer.alloc(file.size)
    let offset = 0
    for await (const chunk of readEntry(zip, file, signal)) {
      content.set(chunk, offset)
      offset += chunk.byteLength
    }
    entries.push({ path: file.path, bytes: content, executable: file.executable })
  }
  return entries
}

/**
 * Unpacks a program's zip into a new directory. It is written beside its place and moved there when it is complete, so
 * `targetDir` holds the whole program or does not exist. Nothing is synced to disk: after a power loss, unpack again.
 *
 * @param targetDir - Must not exist; the directory above it must.
 * @throws ProtocolError `program_invalid`, `content_too_large`; with no trace left on disk
 */
export async function unpackZip(bytes: Uint8Array, targetDir: string, signal: AbortSignal): Promise<void> {
  const directory = await readZipDirectory(bytes, signal)
  const stagingDir = `${targetDir}.tmp-${randomUUID()}`
  await mkdir(stagingDir, { mode: 0o755 })
  try {
    await writeFiles(directory, stagingDir, signal)
    await rename(stagingDir, targetDir)
  } catch (error) {
    await rm(stagingDir, { recursive: true, force: true })
    throw error
  }
}

/** The staging directory is new, ours, and every path in it was checked: no name leads out of it. */
async function writeFiles(
  { zip, files, directories }: ZipDirectory,
  stagingDir: string,
  signal: AbortSignal,
): Promise<void> {
  const parents = new Set([...directories, ...files.map(({ path }) => dirname(path))])
  for (const parent of parents) await mkdir(join(stagingDir, parent), { recursive: true })
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  for (const file of files) {
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW
    await using handle = await open(join(stagingDir, file.path), flags, file.executable ? 0o755 : 0o644)
    for await (const chunk of readEntry(zip, file, signal)) await writeAll(handle, chunk)
  }
}

async function writeAll(handle: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let offset = 0; offset < chunk.byteLength; ) {
    offset += (await handle.write(chunk, offset)).bytesWritten
  }
}

/** The bytes of one file, held to the size and the checksum that the directory claims. */
async function* readEntry(
  zip: ZipDirectory['zip'],
  { path, size, entry }: ZipFileEntry,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let checksum = 0
  let bytesRead = 0
  try {
    for await (const chunk of await zip.openReadStreamPromise(entry)) {
      signal.throwIfAborted()
      bytesRead += chunk.byteLength
      if (bytesRead > size) throw pathRefused(path, 'it unpacks to more than it claims')
      checksum = crc32(chunk, checksum)
      yield chunk
    }
  } catch (cause) {
    signal.throwIfAborted()
    if (isProtocolError(cause)) throw cause
    throw pathRefused(path, 'its bytes are damaged, or not as many as it claims', cause)
  }
  if (bytesRead !== size) throw pathRefused(path, 'it unpacks to less than it claims')
  if (checksum !== entry.crc32) throw pathRefused(path, 'its checksum is wrong')
}
