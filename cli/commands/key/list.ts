import { addressOfKeystore } from '../../../protocol/keystore.ts'
import { defineCommand } from '../../command.ts'
import { keyDirectoryOf, keyFile, listKeystores } from '../../keys/key-directory.ts'

export const keyList = defineCommand({
  usage: 'key list',
  details:
    'The accounts of the keystore, then those of the providers that "provider up" made here, by the names of these.',
  options: {},
  examples: ['key list', 'key list --json'],
  async run(_input, { env, print }) {
    const accounts = (await listKeystores(env)).map(({ name, directory, file, keystore }) => ({
      account: name,
      address: addressOfKeystore(keystore) ?? null,
      path: keyFile(directory, file),
    }))
    const lines = accounts.map(
      ({ account, address }) => `${account}  ${address ?? '(the file does not say)'}`,
    )
    const { path } = keyDirectoryOf(env)
    print(lines.join('\n') || `No accounts in ${path}. Make one with "khachapuri key new <name>".`, {
      accounts,
    })
  },
})
