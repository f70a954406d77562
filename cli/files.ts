import { randomUUID } from 'node:crypto'
import { access, constants, mkdir, open, rename, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { readBounded } from '../protocol/base/bytes.ts'
import { ProtocolError } from '../protocol/errors.ts'

/**
 * Reads a small file whole.
 *
 * @returns undefined where there is none.
 * @throws ProtocolError `config_invalid` for one that is larger than `bytesMax` or cannot be read.
 */
export async function readFileBounded(path: string, bytesMax: number): Promise<Uint8Array | undefined> {
  try {
    await using file = await open(path)
    const bytes = await readBounded(file.createReadStream({ autoClose: false }), bytesMax)
    if (bytes) return bytes
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined
    throw new ProtocolError('config_invalid', `${path} cannot be read: ${reasonOf(cause)}.`, {
      hint: 'Check its type and its permissions.',
      cause,
    })
  }
  throw new ProtocolError('config_invalid', `${path} has more than ${bytesMax} bytes.`, {
    hint: 'This is more than the command reads.',
  })
}

/** Sees to it that a file can be written, before anything is paid for what goes into it. @throws ProtocolError `config_invalid` */
export async function assertWritable(path: string): Promise<void> {
  try {
    await using _file = await open(path, 'r+')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cannotWrite(path, cause)
    await access(dirname(path), constants.W_OK).catch((reason: unknown) => {
      throw cannotWrite(path, reason)
    })
  }
}

export function cannotWrite(path: string, cause: unknown): ProtocolError {
  return new ProtocolError('config_invalid', `${path} cannot be written: ${reasonOf(cause)}.`, {
    hint: 'Check the place, its permissions, and the room on its disk.',
    cause,
  })
}

/** What the place of a file may say, in words. */
const reasons = new Map<unknown, string>([
  ['EACCES', 'no permission'],
  ['EPERM', 'no permission'],
  ['EROFS', 'the file system is read-only'],
  ['ENOSPC', 'the disk is full'],
  ['EDQUOT', 'the disk quota is used up'],
  ['ENOTDIR', 'a part of the path is no directory'],
  ['EISDIR', 'it is a directory'],
  ['EEXIST', 'something else is there'],
  ['ENAMETOOLONG', 'the name is too long'],
  ['ELOOP', 'links that lead in a circle'],
  ['ENOENT', 'its directory is not there, and cannot be made'],
])

function reasonOf(cause: unknown): string {
  const { code } = cause as NodeJS.ErrnoException
  const words = reasons.get(code)
  return words === undefined ? (code ?? String(cause)) : `${words} (${code})`
}

/**
 * What the place of a file may say to a write, whoever writes: no bug of ours.
 *
 * @returns undefined for anything else
 */
export function toFileRefusal(error: unknown): ProtocolError | undefined {
  if (!(error instanceof Error)) return undefined
  // Of a draft that cannot take its place, that is meant; a write that fails half-way names none.
  const { code, syscall, path, dest = path } = error as NodeJS.ErrnoException & { readonly dest?: string }
  const isOfPlace = code === 'ENOENT' ? syscall === 'mkdir' : reasons.has(code)
  return isOfPlace && (dest !== undefined || syscall === 'write')
    ? cannotWrite(dest ?? 'A file', error)
    : undefined
}

/**
 * Puts a file that only this user may read at its place whole, so that no reader sees half of it, and nothing is lost where
 * the disk is full. Makes its folder.
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const draft = join(folder, `.${randomUUID()}.draft`)
  try {
    await writeFile(draft, text, { mode: 0o600, flush: true })
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

/** The user's own directory: keys, settings and the identities that were seen. */
export function homeOf(env: Readonly<Record<string, string | undefined>>): string {
  return env['KHACHAPURI_HOME'] || join(env['HOME'] || homedir(), '.khachapuri')
}
