import { addressOfKeystore } from '../../../protocol/keystore.ts'
import { defineCommand } from '../../command.ts'
import { keyDirectoryOf, keyFile, listAccounts, readKeystore } from '../../keys/key-directory.ts'

export const keyList = defineCommand({
  usage: 'key list',
  options: {},
  examples: ['key list', 'key list --json'],
  async run(_input, { env, print }) {
    const directory = keyDirectoryOf(env)
    const accounts = []
    for (const account of await listAccounts(directory)) {
      const keystore = await readKeystore(directory, account)
      const address = (keystore && addressOfKeystore(keystore)) ?? null
      accounts.push({ account, address, path: keyFile(directory, account) })
    }
    const lines = accounts.map(
      ({ account, address }) => `${account}  ${address ?? '(the file does not say)'}`,
    )
    print(
      lines.join('\n') || `No accounts in ${directory.path}. Make one with "khachapuri key new <name>".`,
      {
        accounts,
      },
    )
  },
})
