import { defineCommand, usageError } from '../../command.ts'
import { dirOptions, readProjectName } from '../../history/open-history.ts'
import { readAccountAddress } from '../../keys/account.ts'
import { findKeysPlace } from '../../market/market.ts'
import { accountOptions } from '../../market/options.ts'
import { removeSecret } from '../../secrets/secret-file.ts'

export const secretRm = defineCommand({
  usage: 'secret rm <NAME>',
  details: 'Forgets a secret: the next deploy goes without it. What runs already keeps it.',
  options: { ...dirOptions, account: accountOptions.account },
  examples: ['secret rm API_KEY'],
  async run({ positionals: [name = ''], values }, context) {
    const project = await readProjectName(values.dir, context)
    const owner = await readAccountAddress(undefined, values, await findKeysPlace(context), context)
    const isFound = await removeSecret(project, { name, owner }, context)
    if (!isFound)
      throw usageError(`${project} has no secret "${name}" here.`, 'See "khachapuri secret list".')
    context.print(`Removed ${name} of ${project}.`, { project, name, owner })
  },
})
