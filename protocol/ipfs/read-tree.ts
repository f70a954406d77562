import { constants } from 'node:fs'
import { lstat, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ProtocolError } from '../errors.ts'
import { limits } from '../limits.ts'
import type { ZipEntry } from './pack-zip.ts'
import { createPathSet, escapePath, type PathSet, pathRefused } from './path-rules.ts'

/** What never belongs into a public zip: version control, installed packages, build output and secrets. */
export const ignoredByDefault: readonly string[] = [
  '.git',
  '.hg',
  '.svn',
  '.DS_Store',
  '.khachapuri',
  'node_modules',
  'dist',
  '.env',
  '.env.*',
  '*.pem',
  '*.key',
  '*.p12',
  'secret',
]

/**
 * Reads the files of a program's directory, in the order of their paths' bytes. Modification times, owners and the
 * directory's own place leave no trace.
 *
 * @param ignore - Names, at any depth, that are left out; `*` stands for any characters. `ignoredByDefault` if absent.
 * @throws ProtocolError `program_invalid` for a symbolic link, a socket, a device or a path that no zip may hold;
 *   `content_too_large` past the limits of a zip
 */
export async function readProgramTree(
  dir: string,
  { ignore = ignoredByDefault }: { ignore?: readonly string[] },
  signal: AbortSignal,
): Promise<readonly ZipEntry[]> {
  const walk: TreeWalk = {
    dir,
    isIgnored: matchNames(ignore),
    paths: createPathSet(),
    bytesLeft: limits.zipBytesMax,
  }
  const entries: ZipEntry[] = []
  for await (const path of listFiles(walk, '', signal)) {
    if (entries.length === limits.zipEntriesMax) throw tooLarge(`${limits.zipEntriesMax} files`)
    entries.push(await readTreeFile(walk, path))
  }
  return entries.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)))
}

interface TreeWalk {
  readonly dir: string
  readonly isIgnored: (name: string) => boolean
  readonly paths: PathSet
  bytesLeft: number
}

async function* listFiles(walk: TreeWalk, prefix: string, signal: AbortSignal): AsyncGenerator<string> {
  signal.throwIfAborted()
  for (const name of (await readdir(join(walk.dir, prefix))).sort()) {
    if (walk.isIgnored(name)) continue
    const path = prefix === '' ? name : `${prefix}/${name}`
    const found = await lstat(join(walk.dir, path))
    if (!found.isFile() && !found.isDirectory()) throw pathRefused(path, `it is ${describeKind(found)}`)
    const fault = walk.paths.add(path, found.isFile() ? 'file' : 'directory')
    if (fault) throw pathRefused(path, fault)
    if (found.isDirectory()) yield* listFiles(walk, path, signal)
    else yield path
  }
}

async function readTreeFile(walk: TreeWalk, path: string): Promise<ZipEntry> {
  // The file may have been exchanged for a link since it was listed.
  await using file = await open(
    join(walk.dir, path),
    constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
  )
  const facts = await file.stat()
  if (!facts.isFile()) throw pathRefused(path, `it is ${describeKind(facts)}`)
  if (facts.size > walk.bytesLeft) throw tooLarge(`${limits.zipBytesMax} bytes (at ${escapePath(path)})`)
  const bytes = Buffer.alloc(facts.size)
  const { bytesRead } = await file.read(bytes, 0, facts.size, 0)
  if (bytesRead < facts.size) throw pathRefused(path, 'it changed while it was read')
  walk.bytesLeft -= facts.size
  return { path, bytes, executable: (facts.mode & 0o100) !== 0 }
}

/** @param patterns - Names in which `*` stands for any characters. */
function matchNames(patterns: readonly string[]): (name: string) => boolean {
  const sources = patterns.map((pattern) => pattern.split('*').map(RegExp.escape).join('.*'))
  const anyOf = new RegExp(`^(?:${sources.join('|')})$`, 's')
  return (name) => patterns.length > 0 && anyOf.test(name)
}

function describeKind(facts: { isSymbolicLink(): boolean; isSocket(): boolean }): string {
  if (facts.isSymbolicLink()) return 'a symbolic link'
  return facts.isSocket() ? 'a socket' : 'a device or a pipe'
}

function tooLarge(what: string): ProtocolError {
  return new ProtocolError('content_too_large', `The program's directory has more than ${what}.`, {
    hint: 'Leave out what the program does not need to run.',
  })
}
