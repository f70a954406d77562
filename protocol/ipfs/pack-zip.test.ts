import { execFileSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { utf8 } from '../base/bytes.ts'
import { limits } from '../limits.ts'
import { cidOfFile } from './import-file.ts'
import { packZip } from './pack-zip.ts'
import { readProgramTree } from './read-tree.ts'
import { readZip } from './unpack-zip.ts'

const { signal } = new AbortController()

async function createDir(files: Readonly<Record<string, string>>) {
  const dir = await mkdtemp(join(tmpdir(), 'khachapuri-tree-'))
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(dir, path, '..'), { recursive: true })
    await writeFile(join(dir, path), text)
  }
  return { dir, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) }
}

describe('packZip', () => {
  test('gives the same bytes whatever the order of the files', () => {
    const a = { path: 'a.js', bytes: utf8.encode('a') }
    const b = { path: 'b/ä.js', bytes: utf8.encode('b'), executable: true }
    expect(Buffer.compare(packZip([a, b]), packZip([b, a]))).toBe(0)
  })

  test('has not changed since programs were first named by it', async () => {
    const zip = packZip([
      { path: 'index.js', bytes: utf8.encode('export default {}\n') },
      { path: 'bin/run', bytes: utf8.encode('#!/bin/sh\n'), executable: true },
    ])
    expect((await cidOfFile(zip)).toString()).toMatchInlineSnapshot(
      `"bafkreib3fi4zxkmwecyongiihfmjkpubfj4sb7ies2hovn2dlqrkxustpu"`,
    )
  })

  test('sorts by bytes, not by UTF-16 units', async () => {
    const paths = ['\u{1f600}', '\uff5e', 'z', 'B', 'a']
    const zip = packZip(paths.map((path) => ({ path, bytes: new Uint8Array() })))
    const entries = await readZip(zip, signal)
    expect(entries.map(({ path }) => path)).toEqual(['B', 'a', 'z', '\uff5e', '\u{1f600}'])
  })

  test.each(['', '/abs', '../up', 'a/../b', 'a\\b', 'a\0b', 'con', 'a//b', 'x'.repeat(256), 'e\u0301'])(
    'refuses the path %j, which no provider would unpack',
    (path) => {
      const pack = () => packZip([{ path, bytes: new Uint8Array() }])
      expect(pack).toThrow(expect.objectContaining({ code: 'program_invalid' }))
    },
  )

  test('refuses two paths that meet where case does not count', () => {
    const pack = () => packZip(['a/x', 'A/y'].map((path) => ({ path, bytes: new Uint8Array() })))
    expect(pack).toThrow(expect.objectContaining({ code: 'program_invalid' }))
  })

  test('refuses more files than a provider would unpack', () => {
    const entries = Array.from({ length: limits.zipEntriesMax + 1 }, (_, i) => ({
      path: `${i}`,
      bytes: new Uint8Array(),
    }))
    expect(() => packZip(entries)).toThrow(expect.objectContaining({ code: 'content_too_large' }))
  })

  test('whatever it packs is unpacked again, byte for byte', async () => {
    const name = fc
      .stringMatching(/^[a-z0-9_-]{1,12}$/)
      .filter((s) => !/^(con|prn|aux|nul|(com|lpt)\d)$/.test(s))
    const entry = fc.record({
      path: name,
      bytes: fc.uint8Array({ maxLength: 500 }),
      executable: fc.boolean(),
    })
    const entries = fc.uniqueArray(entry, { selector: ({ path }) => path, maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(entries, async (packed) => {
        const unpacked = await readZip(packZip(packed), signal)
        const sorted = packed.toSorted((a, b) => (a.path < b.path ? -1 : 1))
        expect(unpacked.map((e) => ({ ...e, bytes: [...e.bytes] }))).toEqual(
          sorted.map((e) => ({ ...e, bytes: [...e.bytes] })),
        )
      }),
      { numRuns: 50 },
    )
  })
})

describe('readProgramTree', () => {
  test('two copies of a tree give one zip, whatever their place, times, order and time zone', async () => {
    await using one = await createDir({ 'index.js': '1', 'lib/a.js': '2', 'lib/b.js': '3' })
    await using two = await createDir({ 'lib/b.js': '3', 'lib/a.js': '2', 'index.js': '1' })
    await utimes(join(two.dir, 'index.js'), 1, 1)
    const zips = await Promise.all(
      [one, two].map(async ({ dir }) => packZip(await readProgramTree(dir, {}, signal))),
    )
    const script = `
      import { packZip } from ${JSON.stringify(join(import.meta.dirname, 'pack-zip.ts'))}
      import { readProgramTree } from ${JSON.stringify(join(import.meta.dirname, 'read-tree.ts'))}
      const tree = await readProgramTree(process.argv[1], {}, new AbortController().signal)
      process.stdout.write(packZip(tree))`
    const inTokyo = execFileSync(
      process.execPath,
      ['--input-type=module-typescript', '-e', script, one.dir],
      {
        env: { TZ: 'Asia/Tokyo' },
      },
    )
    expect(Buffer.compare(zips[0]!, zips[1]!)).toBe(0)
    expect(Buffer.compare(zips[0]!, inTokyo)).toBe(0)
  })

  test('leaves out version control, packages, build output and secrets, at any depth', async () => {
    const kept = { 'index.js': '', 'lib/environment.js': '' }
    const left = [
      '.git/config',
      'node_modules/x/index.js',
      'dist/app.zip',
      '.env',
      'lib/.env.local',
      'lib/key.pem',
    ]
    await using tree = await createDir({
      ...kept,
      ...Object.fromEntries(left.map((path) => [path, 'secret'])),
    })
    const entries = await readProgramTree(tree.dir, {}, signal)
    expect(entries.map(({ path }) => path)).toEqual(['index.js', 'lib/environment.js'])
  })

  test('takes other rules where they are given', async () => {
    await using tree = await createDir({ 'a.js': '', 'a.test.js': '', 'a.js.map': '' })
    const entries = await readProgramTree(tree.dir, { ignore: ['*.test.js', '*.map'] }, signal)
    expect(entries.map(({ path }) => path)).toEqual(['a.js'])
  })

  test('sees which files are executable', async () => {
    await using tree = await createDir({ run: '', 'data.json': '' })
    await chmod(join(tree.dir, 'run'), 0o711)
    const entries = await readProgramTree(tree.dir, {}, signal)
    expect(entries.map(({ path, executable }) => [path, executable])).toEqual([
      ['data.json', false],
      ['run', true],
    ])
  })

  test('refuses a symbolic link instead of reading what it leads to', async () => {
    await using tree = await createDir({ 'index.js': '' })
    await symlink('/etc/passwd', join(tree.dir, 'passwd'))
    await expect(readProgramTree(tree.dir, {}, signal)).rejects.toMatchObject({
      code: 'program_invalid',
      details: { path: '"passwd"', reason: 'it is a symbolic link' },
    })
  })

  test('refuses a link to a directory, a socket and a pipe', async () => {
    await using linked = await createDir({ 'index.js': '' })
    await symlink(linked.dir, join(linked.dir, 'loop'))
    await expect(readProgramTree(linked.dir, {}, signal)).rejects.toMatchObject({ code: 'program_invalid' })

    await using piped = await createDir({ 'index.js': '' })
    execFileSync('mkfifo', [join(piped.dir, 'pipe')])
    await expect(readProgramTree(piped.dir, {}, signal)).rejects.toMatchObject({ code: 'program_invalid' })

    await using socketed = await createDir({ 'index.js': '' })
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(join(socketed.dir, 's'), resolve))
    await expect(readProgramTree(socketed.dir, {}, signal)).rejects.toMatchObject({ code: 'program_invalid' })
    await new Promise((resolve) => server.close(resolve))
  })
})
