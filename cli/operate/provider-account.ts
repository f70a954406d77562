import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import type { LocalAccount } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { decryptKeystore, encryptKeystore } from '../../protocol/keystore.ts'
import type { CommandContext } from '../command.ts'
import { openAccount } from '../keys/account.ts'
import {
  passwordFileOf,
  providerAccountName,
  providerKeysIn,
  readKeystore,
  writeKeystore,
} from '../keys/key-directory.ts'
import { readPassword } from '../keys/password.ts'
import type { MarketPlace } from '../market/market.ts'
import type { AccountFlags } from '../market/options.ts'

const accountName = providerAccountName

/**
 * The account of a provider: one that was named, else its own in `dir`, which is made at the first start. A provider
 * must come up unattended, so unless a password is given, a random one is kept beside the keystore, for this user only.
 *
 * @throws ProtocolError `key_missing`, `keystore_locked`
 */
export async function openProviderAccount(
  { dir, flags, market }: { dir: string; flags: AccountFlags; market: MarketPlace },
  context: CommandContext,
): Promise<LocalAccount> {
  if (isNamed(flags, context)) return openAccount(flags, market, context)
  const directory = providerKeysIn(dir)
  const passwordFile = passwordFileOf(directory)
  const keystore = await readKeystore(directory, accountName)
  if (keystore) {
    const password = await readPassword(context, { account: accountName, fallbackFile: passwordFile })
    return privateKeyToAccount(await decryptKeystore(keystore, password))
  }
  await mkdir(directory.path, { recursive: true, mode: 0o700 })
  const privateKey = generatePrivateKey()
  const text = await encryptKeystore(privateKey, await makePassword(passwordFile, context))
  const path = await writeKeystore(directory, accountName, text)
  const account = privateKeyToAccount(privateKey)
  context.note(`Made the account ${account.address} (${path}). Keep a copy: it owns the name and the money.`)
  return account
}

/** Whether `openProviderAccount` would make one. */
export async function needsNewAccount(
  { dir, flags }: { dir: string; flags: AccountFlags },
  context: CommandContext,
): Promise<boolean> {
  return !isNamed(flags, context) && !(await readKeystore(providerKeysIn(dir), accountName))
}

const isNamed = (flags: AccountFlags, { env }: CommandContext) =>
  flags.account !== undefined || flags['key-stdin'] === true || Boolean(env['KHACHAPURI_PRIVATE_KEY'])

async function makePassword(path: string, context: CommandContext): Promise<string> {
  const { env } = context
  if (env['KHACHAPURI_PASSWORD_FILE'] || env['KHACHAPURI_PASSWORD'] !== undefined) {
    return readPassword(context, { account: accountName })
  }
  const password = randomBytes(24).toString('base64url')
  await writeFile(path, `${password}\n`, { mode: 0o600 })
  return password
}
