import { randomBytes } from 'node:crypto'
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { KiB, MiB } from '../../protocol/base/bytes.ts'
import { createTempDir } from '../../test/support/money.ts'
import { type DiskWrites, generationBytes, openGroupFile } from './group-file.ts'

const sectorBytes = 512
const pageBytes = 4096
const entry = fc.oneof(
  fc.string({ minLength: 1, maxLength: 40 }),
  fc.integer({ min: 1, max: 30_000 }).map((length) => 'é'.repeat(length)),
)
const round = fc.record({
  entries: fc.array(entry, { minLength: 1, maxLength: 6 }),
  /** The power goes in the middle of the last entry, and of these sectors what was written is on disk. */
  kept: fc.array(fc.nat(200), { maxLength: 20 }),
  /** Of the pages that it touches these hold neither what was there nor what was written. */
  spoiled: fc.array(fc.nat(15), { maxLength: 4 }),
  isApplied: fc.boolean(),
})

/** The real file, and beside it what a disk has for certain: the file as it was at the last sync. */
function createCutDisk(path: string) {
  let synced: Buffer | undefined
  let isOn = true
  let last = { from: 0, to: 0 }
  const disk: DiskWrites = {
    write(_, bytes, position) {
      const now = readFileSync(path)
      synced ??= Buffer.from(now)
      now.set(bytes, position)
      writeFileSync(path, now)
      last = { from: position, to: position + bytes.length }
    },
    sync() {
      if (isOn) synced = readFileSync(path)
      else throw new Error('the power is gone')
    },
  }
  return {
    disk,
    cutNextSync() {
      isOn = false
    },
    /** Puts the file back to what was synced, but for some sectors and pages. */
    lose(kept: readonly number[], spoiled: readonly number[]) {
      if (!synced) return
      const written = readFileSync(path)
      for (const sector of kept) {
        const at = sector * sectorBytes
        synced.set(written.subarray(at, at + sectorBytes), at)
      }
      for (const page of spoiled) {
        const at = Math.floor(last.from / pageBytes + page) * pageBytes
        if (at < last.to) synced.set(randomBytes(pageBytes), at)
      }
      writeFileSync(path, synced)
    },
  }
}

test('whenever the power goes and whatever of the last write is on disk, all entries that were synced are found, in their order', () => {
  using dir = createTempDir()
  const path = join(dir.path, 'groups')
  let generation = randomBytes(generationBytes)
  openGroupFile(path, undefined)[Symbol.dispose]()
  fc.assert(
    fc.property(fc.array(round, { minLength: 1, maxLength: 4 }), (rounds) => {
      for (const { entries, kept, spoiled, isApplied } of rounds) {
        generation = randomBytes(generationBytes)
        const cut = createCutDisk(path)
        const file = openGroupFile(path, undefined, cut.disk)
        file.restart(generation)
        const [lost, ...durable] = [...entries].reverse()
        durable.reverse()
        for (const text of durable) expect(file.append(text)).toBe(true)
        if (isApplied) {
          // The tables have them: what is written next counts for another generation, over the same pages.
          generation = randomBytes(generationBytes)
          file.restart(generation)
        }
        cut.cutNextSync()
        expect(() => file.append(lost ?? '')).toThrow('the power is gone')
        file[Symbol.dispose]()
        cut.lose(kept, spoiled)
        using again = openGroupFile(path, generation)
        const certain = isApplied ? [] : durable
        expect([certain, [...certain, lost]]).toContainEqual(again.found)
      }
    }),
    { numRuns: 25 },
  )
})

test('what is full takes no more until it begins anew', () => {
  using dir = createTempDir()
  const path = join(dir.path, 'groups')
  const generation = randomBytes(generationBytes)
  using file = openGroupFile(path, undefined)
  expect(file.append('before anything has begun')).toBe(false)
  file.restart(generation)
  const text = 'x'.repeat(100_000)
  const longs = Array.from({ length: 11 }, () => file.append(text))
  expect(longs).toEqual([...Array(10).fill(true), false])
  expect(file.append('y')).toBe(true)
  using again = openGroupFile(path, generation)
  expect(again.found).toEqual([...Array(10).fill(text), 'y'])
  file.restart(randomBytes(generationBytes))
  expect(file.append(text)).toBe(true)
  using ended = openGroupFile(path, generation)
  expect(ended.found).toEqual([])
})

test.each([100 * KiB, 4 * MiB])(
  'a file of another size, %i bytes, keeps its entries, and is large enough then',
  (bytes) => {
    using dir = createTempDir()
    const path = join(dir.path, 'groups')
    const generation = randomBytes(generationBytes)
    {
      using file = openGroupFile(path, undefined)
      file.restart(generation)
      for (const text of ['one', 'two', 'three']) file.append(text)
    }
    truncateSync(path, bytes)
    using again = openGroupFile(path, generation)
    expect(again.found).toEqual(['one', 'two', 'three'])
    expect(statSync(path).size).toBe(Math.max(bytes, MiB))
  },
)
