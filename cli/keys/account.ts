import { type Address, type LocalAccount, zeroAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { ProtocolError } from '../../protocol/errors.ts'
import { addressOfKeystore, decryptKeystore, type Keystore } from '../../protocol/keystore.ts'
import { addressSchema } from '../../protocol/schema.ts'
import { type CommandContext, usageError } from '../command.ts'
import type { MarketPlace } from '../market/market.ts'
import type { AccountFlags, SignerFlags } from '../market/options.ts'
import { readEnvSettings, readSettingsFile } from '../market/settings.ts'
import {
  findOwnKeystore,
  type KeyDirectory,
  keyDirectoryOf,
  parseAccountName,
  passwordFileOf,
  readKeystore,
} from './key-directory.ts'
import { readPassword } from './password.ts'
import { parsePrivateKey } from './private-key.ts'

/** The account of a development market that stands for its user. */
const devAccount = 'developer'

/**
 * The account that signs: `--account` from a keystore, `--key-stdin`, the variable `KHACHAPURI_PRIVATE_KEY`, the one that
 * `KHACHAPURI_ACCOUNT` names, a local market's `developer`, or the one of the settings. Never from the command line, which every user can read.
 *
 * @throws ProtocolError `key_missing`, `keystore_locked`, `usage_invalid`
 */
export async function openAccount(
  flags: AccountFlags,
  market: Pick<MarketPlace, 'keys'>,
  context: CommandContext,
): Promise<LocalAccount> {
  if (flags['key-stdin']) {
    if (flags.account !== undefined)
      throw usageError('--account and --key-stdin exclude each other.', 'Use one.')
    return privateKeyToAccount(parsePrivateKey(await context.readStdin(), 'Standard input'))
  }
  const inEnv = context.env['KHACHAPURI_PRIVATE_KEY']
  if (flags.account === undefined && inEnv) {
    return privateKeyToAccount(parsePrivateKey(inEnv, 'KHACHAPURI_PRIVATE_KEY'))
  }
  const { name, keystore, passwordFile } = await findKeystore(flags, market, context)
  const password = await readPassword(context, { account: name, fallbackFile: passwordFile })
  return privateKeyToAccount(await decryptKeystore(keystore, password))
}

/**
 * The address of an account that is only looked at: written out, or that of the account that would sign. A keystore
 * that tells its address is not opened, so nobody is asked for a password.
 */
export async function readAccountAddress(
  named: string | undefined,
  flags: AccountFlags,
  market: Pick<MarketPlace, 'keys'>,
  context: CommandContext,
): Promise<Address> {
  if (named?.startsWith('0x')) {
    const parsed = addressSchema.safeParse(named)
    if (parsed.success) return parsed.data
    throw usageError(
      `"${named.slice(0, 80)}" is not an address.`,
      'Copy it again; its capitals are a checksum.',
    )
  }
  const account = named ?? flags.account
  if (account === undefined && (flags['key-stdin'] || context.env['KHACHAPURI_PRIVATE_KEY'])) {
    return (await openAccount(flags, market, context)).address
  }
  const found = await findKeystore({ account }, market, context)
  return addressOfKeystore(found.keystore) ?? (await openAccount({ account }, market, context)).address
}

/** Whose vouchers a grant is for, by an address or by an account's name; zero for metered use. */
export async function readSigner(
  { signer }: SignerFlags,
  market: Pick<MarketPlace, 'keys'>,
  context: CommandContext,
): Promise<Address> {
  return signer === undefined ? zeroAddress : readAccountAddress(signer, {}, market, context)
}

interface FoundKeystore {
  readonly name: string
  readonly keystore: Keystore
  /** Beside the keys of a development market, and of a provider. */
  readonly passwordFile?: string
}

/** A running market's own accounts go before the user's: there, `payer` is the market's payer. A provider's bears its name. */
async function findKeystore(
  { account }: AccountFlags,
  { keys }: Pick<MarketPlace, 'keys'>,
  { env }: CommandContext,
): Promise<FoundKeystore> {
  const named = account ?? readEnvSettings(env).account
  const wanted = named ?? (keys ? devAccount : (await readSettingsFile(env)).account)
  if (wanted === undefined) throw noKey()
  const name = parseAccountName(wanted)
  const inMarket = keys && (await readKeystore(keys, name))
  if (keys && inMarket) return { name, keystore: inMarket, passwordFile: passwordFileOf(keys) }
  const found = await findOwnKeystore(env, name)
  if (found) return found
  const own = keyDirectoryOf(env)
  throw missing(name, keys ? [keys, own] : [own])
}

function missing(name: string, places: readonly KeyDirectory[]): ProtocolError {
  const where = places.map(({ path }) => path).join(' or ')
  return new ProtocolError('key_missing', `There is no account "${name}" in ${where}.`, {
    hint: 'See "khachapuri key list", or make it with "khachapuri key new".',
  })
}

function noKey(): ProtocolError {
  return new ProtocolError('key_missing', 'No account is named.', {
    hint: 'Add --account <name> ("khachapuri key new" makes one), --key-stdin, or set KHACHAPURI_PRIVATE_KEY.',
  })
}
