import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { KiB, MiB, utf8 } from '../../protocol/base/bytes.ts'
import { isProtocolError } from '../../protocol/errors.ts'
import { packZip } from '../../protocol/ipfs/pack-zip.ts'
import { readZip, unpackZip } from '../../protocol/ipfs/unpack-zip.ts'
import { limits } from '../../protocol/limits.ts'
import { buildZip, buildZip64, type HostileEntry, symlinkMode } from '../support/hostile-zip.ts'

const { signal } = new AbortController()
const good: HostileEntry = { name: 'index.js', bytes: utf8.encode('good') }

async function createDir() {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-zip-'))
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) }
}

/** Both ways of unpacking must refuse it in the same way, and leave nothing. */
async function expectRefused(zip: Uint8Array, expected: object): Promise<void> {
  await using place = await createDir()
  await expect(readZip(zip, signal)).rejects.toMatchObject(expected)
  await expect(unpackZip(zip, join(place.dir, 'inner', '..', 'program'), signal)).rejects.toMatchObject(
    expected,
  )
  expect(await readdir(place.dir)).toEqual([])
}

describe('a zip with a hostile path is refused, and nothing is written', () => {
  test.each<[string, HostileEntry['name']]>([
    ['a way out', '../../evil'],
    ['a way out in the middle', 'a/../../evil'],
    ['only dots', '..'],
    ['a dot', './a'],
    ['an absolute path', '/etc/evil'],
    ['a drive', 'C:/evil'],
    ['a backslash', '..\\evil'],
    ['a NUL', 'a\0b'],
    ['a line break', 'a\nb'],
    ['a C1 control character', 'a\u0085b'],
    ['no name at all', ''],
    ['an empty name in the middle', 'a//b'],
    ['a decomposed letter', 'e\u0301.js'],
    ['bytes that are no UTF-8', Uint8Array.from([0x61, 0xff, 0xfe])],
    ['a device', 'lib/AUX.txt'],
    ['another device', 'com¹'],
    ['a trailing dot', 'lib./x'],
    ['a long name', 'x'.repeat(limits.zipNameBytesMax + 1)],
    ['a long path', `${'y'.repeat(250)}/`.repeat(4).concat('y'.repeat(100))],
    ['a deep path', 'a/'.repeat(400).concat('x')],
  ])('%s', async (_what, name) => {
    const zip = buildZip([good, { name, bytes: utf8.encode('evil') }])
    await expectRefused(zip, { code: 'program_invalid', details: { reason: expect.any(String) } })
  })

  test('and the path that it names is printable and bounded', async () => {
    const zip = buildZip([{ name: `\u001b[31m${'x'.repeat(60_000)}` }])
    const error = await readZip(zip, signal).catch((e) => e)
    expect(error.message).toMatch(/^[\x20-\x7e…]+$/)
    expect(error.message.length).toBeLessThan(300)
    expect(error.details.path.length).toBeLessThan(300)
  })
})

describe('two entries that meet in one place are refused', () => {
  test.each([
    ['the same path', ['a.js', 'a.js']],
    ['paths that differ in case', ['Readme', 'README']],
    ['paths that differ in folded case', ['straße', 'STRASSE']],
    ['directories that differ in case', ['lib/a', 'LIB/b']],
    ['a file where a directory is', ['lib/a', 'lib']],
    ['a directory where a file is', ['lib', 'lib/a']],
    ['a directory entry where a file is', ['lib', 'lib/']],
  ])('%s', async (_what, names) => {
    await expectRefused(buildZip(names.map((name) => ({ name }))), { code: 'program_invalid' })
  })
})

describe('an entry that is no plain file is refused', () => {
  test.each<[string, HostileEntry]>([
    ['a symbolic link', { name: 'link', bytes: utf8.encode('/etc/passwd'), mode: symlinkMode }],
    ['a symbolic link that looks like a directory', { name: 'link/', mode: symlinkMode }],
    ['a device', { name: 'device', mode: 0o020644 }],
    ['a socket', { name: 'socket', mode: 0o140644 }],
    ['a directory without a slash', { name: 'dir', mode: 0o040755 }],
    ['a directory with bytes', { name: 'dir/', bytes: utf8.encode('x'), mode: 0o040755 }],
    [
      'an encrypted file',
      { name: 'a', bytes: utf8.encode('x'), flags: 0x0801, claimedSize: 1, claimedPackedSize: 13 },
    ],
    ['a strongly encrypted file', { name: 'a', flags: 0x0841 }],
    ['an unknown compression', { name: 'a', bytes: utf8.encode('x'), method: 12 }],
    ['a name in an extra field', { name: 'a', extra: Buffer.from('757008000100000000657669', 'hex') }],
  ])('%s', async (_what, entry) => {
    await expectRefused(buildZip([good, entry]), { code: 'program_invalid' })
  })
})

describe('a zip that lies about sizes is refused', () => {
  const zeros = new Uint8Array(64 * KiB)
  test.each<[string, HostileEntry]>([
    ['less than it has', { name: 'a', bytes: zeros, deflate: true, claimedSize: 10 }],
    ['more than it has', { name: 'a', bytes: utf8.encode('abc'), deflate: true, claimedSize: 30 }],
    [
      'stored, more than it has',
      { name: 'a', bytes: utf8.encode('abc'), claimedSize: 9, claimedPackedSize: 9 },
    ],
    [
      'beyond the end of the zip',
      { name: 'a', bytes: utf8.encode('abc'), claimedSize: 999, claimedPackedSize: 999 },
    ],
    ['bytes that do not inflate', { name: 'a', bytes: utf8.encode('no deflate'), method: 8 }],
    ['a wrong checksum', { name: 'a', bytes: utf8.encode('abc'), claimedCrc: 1 }],
    ['a wrong checksum, compressed', { name: 'a', bytes: utf8.encode('abc'), deflate: true, claimedCrc: 1 }],
  ])('%s', async (_what, entry) => {
    await expectRefused(buildZip([good, entry, { name: 'z', bytes: new Uint8Array(2000) }]), {
      code: 'program_invalid',
    })
  })
})

describe('a bomb is refused before it is unpacked', () => {
  test('10 MiB of zeros in 10 KiB', async () => {
    const zip = buildZip([{ name: 'zeros', bytes: new Uint8Array(10 * MiB), deflate: true }])
    await expectRefused(zip, { code: 'content_too_large', message: expect.stringContaining('100 times') })
  })

  test('more than 250 MiB in all', async () => {
    const noise = crypto.getRandomValues(new Uint8Array(64 * KiB))
    const entry = { bytes: noise, claimedSize: 100 * MiB, deflate: true }
    const padding = { name: 'padding', bytes: new Uint8Array(4 * MiB) }
    const zip = buildZip([{ ...entry, name: 'a' }, { ...entry, name: 'b' }, { ...entry, name: 'c' }, padding])
    await expectRefused(zip, { code: 'content_too_large', message: expect.stringContaining('bytes') })
  })

  test('files that share their data', async () => {
    const noise = crypto.getRandomValues(new Uint8Array(40 * KiB))
    const shared = Array.from({ length: 30 }, (_, i) => ({ name: `f${i}`, bytes: noise, dataOf: 0 }))
    await expectRefused(buildZip([{ name: 'first', bytes: noise }, ...shared]), {
      code: 'program_invalid',
      message: expect.stringContaining('overlap'),
    })
  })

  test('an end that claims a million entries', async () => {
    await expectRefused(buildZip64(1_000_000n), {
      code: 'content_too_large',
      message: expect.stringContaining('5000'),
    })
  })

  test('more entries than are allowed', async () => {
    const names = Array.from({ length: limits.zipEntriesMax + 1 }, (_, i) => ({ name: `f${i}` }))
    await expectRefused(buildZip(names), {
      code: 'content_too_large',
      message: expect.stringContaining('5000'),
    })
  })

  test('fewer entries than the end claims', async () => {
    await expectRefused(buildZip([good], { claimedEntries: 4000 }), { code: 'program_invalid' })
  })

  test('a zip above the limit', async () => {
    await expectRefused(new Uint8Array(limits.zipBytesMax + 1), { code: 'content_too_large' })
  })
})

test('any damage to a zip gives its files or a refusal, and never ends the process', async () => {
  const zip = packZip([
    { path: 'index.js', bytes: utf8.encode('export default {}') },
    { path: 'lib/data.bin', bytes: new Uint8Array(300), executable: true },
  ])
  const damage = fc.array(fc.tuple(fc.nat(zip.byteLength - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(damage, fc.nat(zip.byteLength), async (changes, cut) => {
      const damaged = Uint8Array.from(zip)
      for (const [at, value] of changes) damaged[at] = value
      for (const bytes of [damaged, zip.subarray(0, cut)]) {
        const result = await readZip(bytes, signal).catch((error) => error)
        expect(Array.isArray(result) || isProtocolError(result)).toBe(true)
      }
    }),
    { numRuns: 300 },
  )
})

test('an honest zip, compressed by another tool, is unpacked with its modes', async () => {
  await using place = await createDir()
  const zip = buildZip([
    { name: 'lib/', mode: 0o040755 },
    { name: 'lib/run', bytes: utf8.encode('#!/bin/sh\n'), mode: 0o104777 },
    { name: 'text', bytes: utf8.encode('word '.repeat(100)), deflate: true, mode: 0 },
  ])
  const target = join(place.dir, 'program')
  await unpackZip(zip, target, signal)
  expect(await readdir(place.dir)).toEqual(['program'])
  expect((await stat(join(target, 'lib/run'))).mode & 0o7777).toBe(0o755)
  expect((await stat(join(target, 'text'))).mode & 0o7777).toBe(0o644)
  expect(await readFile(join(target, 'text'), 'utf8')).toBe('word '.repeat(100))
})

test('a second program does not go over the first', async () => {
  await using place = await createDir()
  const target = join(place.dir, 'program')
  await unpackZip(buildZip([good]), target, signal)
  await expect(unpackZip(buildZip([{ name: 'other' }]), target, signal)).rejects.toThrow()
  expect(await readdir(target)).toEqual(['index.js'])
  expect(await readdir(place.dir)).toEqual(['program'])
})

test('giving up leaves nothing behind', async () => {
  await using place = await createDir()
  const giving = new AbortController()
  giving.abort(new Error('gone'))
  await expect(unpackZip(buildZip([good]), join(place.dir, 'program'), giving.signal)).rejects.toThrow('gone')
  expect(await readdir(place.dir)).toEqual([])
})
