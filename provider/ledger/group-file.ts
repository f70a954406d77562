import { hash } from 'node:crypto'
import {
  closeSync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { KiB, MiB } from '../../protocol/base/bytes.ts'
import { ProtocolError } from '../../protocol/errors.ts'

/**
 * Groups of charges that are on disk before the tables have them: a write and a sync of one page, where a transaction of
 * the tables writes seven. The file is made once, in full, and written over from its beginning, so that a sync has no sizes
 * and no free blocks to put down.
 *
 * An entry begins on a page of its own: what was synced before it is never written again while it counts, and a write that
 * the power cuts off spoils nothing but itself. Which entries count says a generation that the tables hold. A transaction
 * that takes entries into the tables changes it, so each of them is in exactly one of the two, whenever the power goes.
 */
export interface GroupFile extends Disposable {
  /** The entries that were on disk when it was opened, and perhaps one more on which nobody relies yet. */
  readonly found: readonly string[]
  /** On disk, synced, when it returns. @returns false where there is no room, and nothing was written. */
  append(entry: string): boolean
  /** Begins anew; to be called when the tables hold the new generation. */
  restart(generation: Uint8Array): void
}

/** How bytes get on disk; tests cut the power in between. */
export interface DiskWrites {
  write(file: number, bytes: Uint8Array, position: number): void
  sync(file: number): void
}

export const generationBytes = 16
/** A page for each of as many groups of one as go into the tables at once. */
const fileBytes = MiB
/** What a disk writes whole or not at all is no larger. */
const pageBytes = 4 * KiB
const digestBytes = 32
/** SHA-256 of what follows · generation 16 · index u32 · length of the entry u32 */
const headBytes = digestBytes + generationBytes + 8

/**
 * @param generation - Of the entries that count; undefined where none do.
 * @throws ProtocolError `ledger_unavailable`
 */
export function openGroupFile(
  path: string,
  generation: Uint8Array | undefined,
  disk: DiskWrites = kernel,
): GroupFile {
  const file = openWhole(path)
  const found = generation ? readEntries(file, generation) : []
  const page = Buffer.alloc(fileBytes)
  let current: Uint8Array | undefined
  let at = 0
  let index = 0
  return {
    found,
    append(entry) {
      if (!current || at + headBytes + Buffer.byteLength(entry) > fileBytes) return false
      const length = page.write(entry, headBytes)
      const size = Math.ceil((headBytes + length) / pageBytes) * pageBytes
      page.set(current, digestBytes)
      page.writeUInt32BE(index, headBytes - 8)
      page.writeUInt32BE(length, headBytes - 4)
      page.set(digestOf(page.subarray(digestBytes, headBytes + length)))
      page.fill(0, headBytes + length, size)
      disk.write(file, page.subarray(0, size), at)
      disk.sync(file)
      at += size
      index += 1
      return true
    },
    restart(next) {
      current = next
      at = 0
      index = 0
    },
    [Symbol.dispose]: () => closeSync(file),
  }
}

const kernel: DiskWrites = {
  write(file, bytes, position) {
    for (let done = 0; done < bytes.length; ) {
      done += writeSync(file, bytes, done, bytes.length - done, position + done)
    }
  },
  sync: fdatasyncSync,
}

const digestOf = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer')

/**
 * Written in full before its first use: a hole would be filled by the first write to it, and its place put down by the sync.
 * What is there stays: another release may have made it, in another size, and entries in it may count.
 */
function openWhole(path: string): number {
  try {
    const size = statSync(path, { throwIfNoEntry: false })?.size
    const file = openSync(path, size === undefined ? 'wx+' : 'r+', 0o600)
    if (size !== undefined && size >= fileBytes) return file
    kernel.write(file, Buffer.alloc(fileBytes - (size ?? 0)), size ?? 0)
    fsyncSync(file)
    const dir = openSync(dirname(path), 'r')
    fsyncSync(dir)
    closeSync(dir)
    return file
  } catch (error) {
    throw new ProtocolError('ledger_unavailable', `${path} cannot be opened: ${String(error)}`, {
      hint: 'Check the disk and the rights of the data directory.',
      cause: error,
    })
  }
}

/** From the beginning up to the first one that does not count, or is not whole. */
function readEntries(file: number, generation: Uint8Array): string[] {
  const bytes = Buffer.alloc(fstatSync(file).size)
  readSync(file, bytes, 0, bytes.length, 0)
  const entries: string[] = []
  for (let at = 0; at + headBytes <= bytes.length; ) {
    const head = bytes.subarray(at, at + headBytes)
    const end = at + headBytes + head.readUInt32BE(headBytes - 4)
    const isNext =
      end <= bytes.length &&
      head.subarray(digestBytes, digestBytes + generationBytes).equals(generation) &&
      head.readUInt32BE(headBytes - 8) === entries.length &&
      digestOf(bytes.subarray(at + digestBytes, end)).equals(head.subarray(0, digestBytes))
    if (!isNext) break
    entries.push(bytes.toString('utf8', at + headBytes, end))
    at = Math.ceil(end / pageBytes) * pageBytes
  }
  return entries
}
