import { access, constants, open } from 'node:fs/promises'
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
    throw new ProtocolError('config_invalid', `${path} cannot be read: ${code ?? String(cause)}.`, {
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
  const { code } = cause as NodeJS.ErrnoException
  return new ProtocolError('config_invalid', `${path} cannot be written: ${code ?? String(cause)}.`, {
    hint: 'Choose another place for it.',
    cause,
  })
}

/** The user's own directory: keys, settings and the identities that were seen. */
export function homeOf(env: Readonly<Record<string, string | undefined>>): string {
  return env['KHACHAPURI_HOME'] || join(env['HOME'] || homedir(), '.khachapuri')
}
