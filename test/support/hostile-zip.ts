import { crc32, deflateRawSync } from 'node:zlib'

/** One entry of a zip that may lie about anything. What is absent is honest. */
export interface HostileEntry {
  readonly name: string | Uint8Array
  readonly bytes?: Uint8Array
  readonly deflate?: boolean
  /** Unix mode with the kind of file; 0 for none. */
  readonly mode?: number
  readonly flags?: number
  readonly method?: number
  readonly claimedSize?: number
  readonly claimedPackedSize?: number
  readonly claimedCrc?: number
  readonly extra?: Uint8Array
  /** Takes the data of the entry with this index instead of having its own. */
  readonly dataOf?: number
}

export interface HostileZipOptions {
  /** What the end of the directory claims. */
  readonly claimedEntries?: number
}

export const fileMode = 0o100644
export const symlinkMode = 0o120777

/** Writes a zip as it was asked for, with no checks at all. */
export function buildZip(
  entries: readonly HostileEntry[],
  { claimedEntries }: HostileZipOptions = {},
): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  const offsets: number[] = []
  let offset = 0
  for (const entry of entries) {
    const { header, data, central } = encodeEntry(entry)
    const at = entry.dataOf === undefined ? offset : offsets[entry.dataOf]!
    offsets.push(at)
    directory.push(central(at))
    if (entry.dataOf !== undefined) continue
    parts.push(header, data)
    offset += header.byteLength + data.byteLength
  }
  const directoryBytes = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(claimedEntries ?? entries.length, 8)
  end.writeUInt16LE(claimedEntries ?? entries.length, 10)
  end.writeUInt32LE(directoryBytes.byteLength, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...parts, directoryBytes, end])
}

/** A zip64 whose end claims `claimedEntries`, with a directory that has none. */
export function buildZip64(claimedEntries: bigint): Buffer {
  const record = Buffer.alloc(56)
  record.writeUInt32LE(0x06064b50, 0)
  record.writeBigUInt64LE(44n, 4)
  record.writeBigUInt64LE(claimedEntries, 24)
  record.writeBigUInt64LE(claimedEntries, 32)
  const locator = Buffer.alloc(20)
  locator.writeUInt32LE(0x07064b50, 0)
  const end = Buffer.alloc(22, 0xff)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(0, 20)
  return Buffer.concat([record, locator, end])
}

function encodeEntry(entry: HostileEntry) {
  const { bytes = new Uint8Array(), mode = fileMode, flags = 0x0800, extra = new Uint8Array() } = entry
  const name = Buffer.from(entry.name)
  const data = entry.deflate ? deflateRawSync(bytes) : Buffer.from(bytes)
  const fields = Buffer.alloc(26)
  fields.writeUInt16LE(20, 0)
  fields.writeUInt16LE(flags, 2)
  fields.writeUInt16LE(entry.method ?? (entry.deflate ? 8 : 0), 4)
  fields.writeUInt16LE(0x21, 8)
  fields.writeUInt32LE(entry.claimedCrc ?? crc32(bytes), 10)
  fields.writeUInt32LE(entry.claimedPackedSize ?? data.byteLength, 14)
  fields.writeUInt32LE(entry.claimedSize ?? bytes.byteLength, 18)
  fields.writeUInt16LE(name.byteLength, 22)
  fields.writeUInt16LE(extra.byteLength, 24)
  const local = Buffer.from('504b0304', 'hex')
  const central = (offset: number): Buffer => {
    const head = Buffer.alloc(6)
    head.writeUInt32LE(0x02014b50, 0)
    head.writeUInt16LE((3 << 8) | 20, 4)
    const tail = Buffer.alloc(14)
    tail.writeUInt32LE(mode * 0x1_0000, 6)
    tail.writeUInt32LE(offset, 10)
    return Buffer.concat([head, fields, tail, name, extra])
  }
  return { header: Buffer.concat([local, fields, name, extra]), data, central }
}
