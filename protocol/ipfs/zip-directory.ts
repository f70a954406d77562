import { type Entry, fromBufferPromise, getFileNameLowLevel, type ZipFile } from 'yauzl'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { createPathSet, pathRefused } from './path-rules.ts'

/** A file in a zip whose directory was found to be harmless. Nothing of it was unpacked yet. */
export interface ZipFileEntry {
  readonly path: string
  readonly executable: boolean
  /** What it unpacks to; whoever unpacks holds it to that. */
  readonly size: number
  readonly entry: Entry
}

export interface ZipDirectory {
  readonly zip: ZipFile
  readonly files: readonly ZipFileEntry[]
  /** Directories that the zip names itself; most zips leave them to the files' paths. */
  readonly directories: readonly string[]
}

/**
 * Reads the directory of a zip from outside, and makes every check that needs no unpacking: paths, kinds, counts, sizes
 * and the ratio.
 *
 * @throws ProtocolError `program_invalid`; `content_too_large` where it passes a limit of bytes, entries or ratio
 */
export async function readZipDirectory(bytes: Uint8Array, signal: AbortSignal): Promise<ZipDirectory> {
  if (bytes.byteLength > limits.zipBytesMax) {
    throw zipTooLarge(`has more than ${limits.zipBytesMax} bytes`)
  }
  const zip = await openZip(bytes)
  if (zip.entryCount > limits.zipEntriesMax)
    throw zipTooLarge(`has more than ${limits.zipEntriesMax} entries`)
  const files: ZipFileEntry[] = []
  const directories: string[] = []
  const paths = createPathSet()
  for (const entry of await readEntries(zip, signal)) {
    const { path, kind } = parseEntry(entry)
    const fault = paths.add(path, kind)
    if (fault) throw pathRefused(path, fault)
    if (kind === 'directory') directories.push(path)
    else files.push({ path, executable: isExecutable(entry), size: entry.uncompressedSize, entry })
  }
  checkSizes(files, bytes.byteLength)
  return { zip, files, directories }
}

function zipTooLarge(what: string): ProtocolError {
  return new ProtocolError('content_too_large', `The program's zip ${what}.`, {
    hint: 'Leave out what the program does not need to run; "khachapuri limits" shows what may be in it.',
    details: { reason: what },
  })
}

export function zipRefused(why: string, cause?: unknown): ProtocolError {
  return new ProtocolError('program_invalid', `The program's zip cannot be used: ${why}.`, {
    hint: 'Make the zip with "khachapuri build".',
    details: { reason: why },
    cause,
  })
}

async function openZip(bytes: Uint8Array): Promise<ZipFile> {
  try {
    // Names stay bytes until our own rules have read them; yauzl would put them into its messages as they are.
    const options = { decodeStrings: false, validateEntrySizes: true, strictFileNames: true }
    return await fromBufferPromise(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), options)
  } catch (cause) {
    throw zipRefused('it is not a zip, or it was cut short', cause)
  }
}

async function readEntries(zip: ZipFile, signal: AbortSignal): Promise<readonly Entry[]> {
  const entries: Entry[] = []
  try {
    for await (const entry of zip.eachEntry()) {
      signal.throwIfAborted()
      entries.push(entry)
    }
  } catch (cause) {
    signal.throwIfAborted()
    throw zipRefused('its directory is damaged', cause)
  }
  return entries
}

/** The kinds of file in a Unix mode (stat.h). */
const mode = { kindMask: 0o170000, none: 0, file: 0o100000, directory: 0o040000, executable: 0o100 } as const

function parseEntry(entry: Entry): { path: string; kind: 'file' | 'directory' } {
  const name = decodeName(entry)
  const isDirectory = name.endsWith('/')
  const path = isDirectory ? name.slice(0, -1) : name
  const kind = (entry.externalFileAttributes >>> 16) & mode.kindMask
  if (kind !== mode.none && kind !== (isDirectory ? mode.directory : mode.file)) {
    throw pathRefused(path, 'it is a symbolic link, a device or something else that is no plain file')
  }
  if (entry.isEncrypted()) throw pathRefused(path, 'it is encrypted')
  if (!entry.canDecodeFileData())
    throw pathRefused(path, `its compression method ${entry.compressionMethod} is unknown`)
  if (isDirectory && entry.uncompressedSize > 0) throw pathRefused(path, 'it is a directory with bytes')
  return { path, kind: isDirectory ? 'directory' : 'file' }
}

function decodeName(entry: Entry): string {
  const { generalPurposeBitFlag, fileNameRaw, extraFields } = entry
  // Where an extra field gives the name a second time, two unpackers could see two different files.
  if (extraFields.some(({ id }) => id === unicodePathField)) throw zipRefused('it gives a name twice')
  return getFileNameLowLevel(generalPurposeBitFlag, fileNameRaw, [], true)
}

const unicodePathField = 0x7075

function isExecutable(entry: Entry): boolean {
  return ((entry.externalFileAttributes >>> 16) & mode.executable) !== 0
}

/** On claimed sizes; unpacking holds each file to its claim, so the real ones cannot be more. */
function checkSizes(files: readonly ZipFileEntry[], zipBytes: number): void {
  const packed = files.reduce((total, { entry }) => total + entry.compressedSize, 0)
  const unpacked = files.reduce((total, { size }) => total + size, 0)
  if (packed > zipBytes) throw zipRefused('its files overlap')
  if (unpacked > limits.zipUnpackedBytesMax) {
    throw zipTooLarge(`unpacks to more than ${limits.zipUnpackedBytesMax} bytes`)
  }
  if (unpacked > zipBytes * limits.zipRatioMax) {
    throw zipTooLarge(`unpacks to more than ${limits.zipRatioMax} times its size`)
  }
}
