import { defineCommand } from '../../command.ts'
import { readProjectName } from '../../history/open-history.ts'
import { readAccountAddress } from '../../keys/account.ts'
import { formatTime } from '../../market/escrow.ts'
import { findKeysPlace } from '../../market/market.ts'
import { accountOptions } from '../../market/options.ts'
import { listSecrets } from '../../secrets/secret-file.ts'

export const secretList = defineCommand({
  usage: 'secret list [dir|zip]',
  details:
    'The names of the secrets that were put for the program by the account, and when; nobody shows their values.',
  options: { account: accountOptions.account },
  examples: ['secret list', 'secret list hello --json'],
  async run({ positionals: [path = '.'], values }, context) {
    const project = await readProjectName(path, context)
    const owner = await readAccountAddress(undefined, values, await findKeysPlace(context), context)
    const secrets = await listSecrets(project, owner, context)
    const width = Math.max(0, ...secrets.map(({ name }) => name.length))
    const lines = secrets.map(({ name, putAt }) => `${name.padEnd(width)}  ${formatTime(putAt)}`)
    context.print(
      lines.join('\n') || `${project} has no secrets of ${owner} here. Put one: khachapuri secret put <NAME>`,
      {
        project,
        owner,
        secrets,
      },
    )
  },
})
