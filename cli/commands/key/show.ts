import { ProtocolError } from '../../../protocol/errors.ts'
import { addressOfKeystore } from '../../../protocol/keystore.ts'
import { defineCommand } from '../../command.ts'
import { keyDirectoryOf, keyFile, parseAccountName, readKeystore } from '../../keys/key-directory.ts'

export const keyShow = defineCommand({
  usage: 'key show <name>',
  details: 'Only what anybody may know is shown; the key itself stays encrypted.',
  options: {},
  examples: ['key show developer'],
  async run({ positionals: [name = ''] }, { env, print }) {
    const account = parseAccountName(name)
    const directory = keyDirectoryOf(env)
    const keystore = await readKeystore(directory, account)
    if (!keystore) {
      throw new ProtocolError('key_missing', `There is no account "${account}" in ${directory.path}.`, {
        hint: 'See "khachapuri key list", or make it with "khachapuri key new".',
      })
    }
    const path = keyFile(directory, account)
    const address = addressOfKeystore(keystore) ?? null
    print(`${account}  ${address ?? '(the file does not say)'}\n${path}`, { account, address, path })
  },
})
