import { ProtocolError } from '../../../protocol/errors.ts'
import { addressOfKeystore } from '../../../protocol/keystore.ts'
import { defineCommand } from '../../command.ts'
import { findOwnKeystore, keyDirectoryOf, keyFile, parseAccountName } from '../../keys/key-directory.ts'

export const keyShow = defineCommand({
  usage: 'key show <name>',
  details: 'Only what anybody may know is shown; the key itself stays encrypted.',
  options: {},
  examples: ['key show developer'],
  async run({ positionals: [name = ''] }, { env, print }) {
    const account = parseAccountName(name)
    const found = await findOwnKeystore(env, account)
    if (!found) {
      const { path } = keyDirectoryOf(env)
      throw new ProtocolError('key_missing', `There is no account "${account}" in ${path}.`, {
        hint: 'See "khachapuri key list", or make it with "khachapuri key new".',
      })
    }
    const path = keyFile(found.directory, found.file)
    const address = addressOfKeystore(found.keystore) ?? null
    print(`${account}  ${address ?? '(the file does not say)'}\n${path}`, { account, address, path })
  },
})
