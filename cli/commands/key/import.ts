import { privateKeyToAddress } from 'viem/accounts'
import { defineCommand } from '../../command.ts'
import { createKey, keyLocationDetails } from '../../keys/create-key.ts'
import { keyDirectoryOf, parseAccountName } from '../../keys/key-directory.ts'
import { parsePrivateKey } from '../../keys/private-key.ts'

export const keyImport = defineCommand({
  usage: 'key import <name>',
  details: `The key is read from standard input, as 64 hexadecimal digits with or without 0x.\n${keyLocationDetails}`,
  options: {},
  examples: ['key import payer < key.txt'],
  async run({ positionals: [name = ''] }, context) {
    const account = parseAccountName(name)
    const privateKey = parsePrivateKey(await context.readStdin(), 'Standard input')
    const path = await createKey({ account, privateKey, directory: keyDirectoryOf(context.env) }, context)
    const address = privateKeyToAddress(privateKey)
    context.print(`${account}  ${address}\n${path}`, { account, address, path })
  },
})
