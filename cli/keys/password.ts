import { ProtocolError } from '../../protocol/errors.ts'
import { limits } from '../../protocol/limits.ts'
import type { CommandContext } from '../command.ts'
import { readFileBounded } from '../files.ts'

/**
 * The password of a keystore: from the file that `KHACHAPURI_PASSWORD_FILE` names, from `KHACHAPURI_PASSWORD`, from
 * the file beside a development keystore, or typed.
 *
 * @param fallbackFile - Where a development market keeps the password of its worthless keys.
 * @throws ProtocolError `keystore_locked` where there is none and nobody can be asked
 */
export async function readPassword(
  { env, askSecret }: CommandContext,
  { account, fallbackFile }: { account: string; fallbackFile?: string | undefined },
): Promise<string> {
  const file = env['KHACHAPURI_PASSWORD_FILE']
  if (file) return readPasswordFile(file)
  if (env['KHACHAPURI_PASSWORD'] !== undefined) return env['KHACHAPURI_PASSWORD']
  if (fallbackFile) return readPasswordFile(fallbackFile)
  return askSecret(`Password of "${account}"`)
}

/** A password for a new keystore; typed twice, as a slip would cost the key. */
export async function readNewPassword(context: CommandContext, account: string): Promise<string> {
  const { env, askSecret } = context
  const isTyped = !env['KHACHAPURI_PASSWORD_FILE'] && env['KHACHAPURI_PASSWORD'] === undefined
  const password = await readPassword(context, { account })
  if (password === '') throw locked('The password is empty.', 'Use one that nobody guesses.')
  if (isTyped && password !== (await askSecret('The same again'))) {
    throw locked('The two passwords differ.', 'Try again; nothing was written.')
  }
  return password
}

async function readPasswordFile(path: string): Promise<string> {
  const bytes = await readFileBounded(path, limits.stdinSecretBytesMax)
  if (!bytes) throw locked(`The password file ${path} is not there.`, 'See KHACHAPURI_PASSWORD_FILE.')
  // Editors end a file with a line break that nobody means.
  return Buffer.from(bytes)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}

function locked(message: string, hint: string): ProtocolError {
  return new ProtocolError('keystore_locked', message, { hint })
}
