import { crc32 } from 'node:zlib'
import { utf8 } from '../base/bytes.ts'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import { createPathSet, pathRefused } from './path-rules.ts'

/** A file of a program. */
export interface ZipEntry {
  /** Names with `/` between them, relative to the program's root. */
  readonly path: string
  readonly bytes: Uint8Array
  readonly executable?: boolean
}

/**
 * Packs files into a zip whose bytes depend on nothing but the files: sorted by the bytes of their paths, stored without
 * compression (whose output changes between versions), dated 1980-01-01 in no time zone, modes 0644 and 0755.
 *
 * @throws ProtocolError `program_invalid` for paths that `readZip` would refuse, `content_too_large` past the limits
 */
export function packZip(entries: readonly ZipEntry[]): Uint8Array {
  checkEntries(entries)
  const sorted = entries
    .map((entry) => ({ entry, name: utf8.encode(entry.path) }))
    .sort((a, b) => Buffer.compare(a.name, b.name))
  const parts: Uint8Array[] = []
  const directory: Uint8Array[] = []
  let offset = 0
  for (const { entry, name } of sorted) {
    const facts = { name, crc: crc32(entry.bytes), size: entry.bytes.byteLength }
    const header = localHeader(facts)
    parts.push(header, name, entry.bytes)
    directory.push(directoryHeader({ ...facts, offset, mode: entry.executable ? 0o100755 : 0o100644 }), name)
    offset += header.byteLength + name.byteLength + entry.bytes.byteLength
  }
  const directoryBytes = sum(directory)
  const end = endOfDirectory({ entries: sorted.length, directoryBytes, directoryOffset: offset })
  const zip = Buffer.concat([...parts, ...directory, end])
  if (zip.byteLength > limits.zipBytesMax) throw tooLarge(`${limits.zipBytesMax} bytes`)
  return zip
}

function checkEntries(entries: readonly ZipEntry[]): void {
  if (entries.length > limits.zipEntriesMax) throw tooLarge(`${limits.zipEntriesMax} files`)
  if (sum(entries.map(({ bytes }) => bytes)) > limits.zipBytesMax)
    throw tooLarge(`${limits.zipBytesMax} bytes`)
  const paths = createPathSet()
  for (const { path } of entries) {
    const fault = paths.add(path, 'file')
    if (fault) throw pathRefused(path, fault)
  }
}

/** The names in the file format's description (APPNOTE.TXT), which has the layout of these three records. */
const format = {
  localSignature: 0x04034b50,
  directorySignature: 0x02014b50,
  endSignature: 0x06054b50,
  versionNeeded: 20,
  madeByUnix: (3 << 8) | 20,
  namesAreUtf8: 0x0800,
  stored: 0,
  /** 1980-01-01 as day | month << 5 | years since 1980 << 9: the first date that the format knows. */
  date: 1 | (1 << 5),
} as const

interface EntryFacts {
  readonly name: Uint8Array
  readonly crc: number
  readonly size: number
}

function localHeader({ name, crc, size }: EntryFacts): Uint8Array {
  const header = Buffer.alloc(30)
  header.writeUInt32LE(format.localSignature, 0)
  writeCommonFields(header.subarray(4), { name, crc, size })
  return header
}

function directoryHeader(facts: EntryFacts & { readonly offset: number; readonly mode: number }): Uint8Array {
  const header = Buffer.alloc(46)
  header.writeUInt32LE(format.directorySignature, 0)
  header.writeUInt16LE(format.madeByUnix, 4)
  writeCommonFields(header.subarray(6), facts)
  header.writeUInt32LE(facts.mode * 0x1_0000, 38)
  header.writeUInt32LE(facts.offset, 42)
  return header
}

function writeCommonFields(fields: Buffer, { name, crc, size }: EntryFacts): void {
  fields.writeUInt16LE(format.versionNeeded, 0)
  fields.writeUInt16LE(format.namesAreUtf8, 2)
  fields.writeUInt16LE(format.stored, 4)
  fields.writeUInt16LE(0, 6)
  fields.writeUInt16LE(format.date, 8)
  fields.writeUInt32LE(crc, 10)
  fields.writeUInt32LE(size, 14)
  fields.writeUInt32LE(size, 18)
  fields.writeUInt16LE(name.byteLength, 22)
}

function endOfDirectory(facts: {
  entries: number
  directoryBytes: number
  directoryOffset: number
}): Uint8Array {
  const end = Buffer.alloc(22)
  end.writeUInt32LE(format.endSignature, 0)
  end.writeUInt16LE(facts.entries, 8)
  end.writeUInt16LE(facts.entries, 10)
  end.writeUInt32LE(facts.directoryBytes, 12)
  end.writeUInt32LE(facts.directoryOffset, 16)
  return end
}

function sum(parts: readonly Uint8Array[]): number {
  return parts.reduce((total, part) => total + part.byteLength, 0)
}

function tooLarge(what: string): ProtocolError {
  return new ProtocolError('content_too_large', `The program has more than ${what}.`, {
    hint: 'Leave out what it does not need to run.',
  })
}
