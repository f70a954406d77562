import type { Hex } from 'viem'
import { encryptKeystore } from '../../protocol/keystore.ts'
import type { CommandContext } from '../command.ts'
import { type KeyDirectory, writeKeystore } from './key-directory.ts'
import { readNewPassword } from './password.ts'

export const keyLocationDetails =
  'The file is Web3 Secret Storage version 3, as geth and foundry use it, in ~/.khachapuri/keys (or under\n' +
  'KHACHAPURI_HOME). Its password comes from KHACHAPURI_PASSWORD_FILE, KHACHAPURI_PASSWORD, or is asked for.'

/** Encrypts a key into a new file of the directory. @returns the file's path */
export async function createKey(
  { account, privateKey, directory }: { account: string; privateKey: Hex; directory: KeyDirectory },
  context: CommandContext,
): Promise<string> {
  const password = await readNewPassword(context, account)
  return writeKeystore(directory, account, await encryptKeystore(privateKey, password))
}
