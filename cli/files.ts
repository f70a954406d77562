import { open } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
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

/** The user's own directory: keys, settings and the identities that were seen. */
export function homeOf(env: Readonly<Record<string, string | undefined>>): string {
  return env['KHACHAPURI_HOME'] || join(env['HOME'] || homedir(), '.khachapuri')
}
