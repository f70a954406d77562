import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { defineCommand } from '../../command.ts'
import { createKey, keyLocationDetails } from '../../keys/create-key.ts'
import { keyDirectoryOf, parseAccountName } from '../../keys/key-directory.ts'

export const keyNew = defineCommand({
  usage: 'key new <name>',
  details: keyLocationDetails,
  options: {},
  examples: ['key new developer', 'key new payer --json'],
  async run({ positionals: [name = ''] }, context) {
    const account = parseAccountName(name)
    const privateKey = generatePrivateKey()
    const path = await createKey({ account, privateKey, directory: keyDirectoryOf(context.env) }, context)
    const address = privateKeyToAddress(privateKey)
    context.print(`${account}  ${address}\n${path}`, { account, address, path })
  },
})
