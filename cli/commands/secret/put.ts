import { ProtocolError } from '../../../protocol/errors.ts'
import { limits } from '../../../protocol/limits.ts'
import { type CommandContext, defineCommand, usageError } from '../../command.ts'
import { dirOptions, readProjectName } from '../../history/open-history.ts'
import { openAccount } from '../../keys/account.ts'
import { findKeysPlace } from '../../market/market.ts'
import { accountOptions } from '../../market/options.ts'
import { assertEnvName } from '../../project/env-file.ts'
import { putSecret } from '../../secrets/secret-file.ts'

export const secretPut = defineCommand({
  usage: 'secret put <NAME>',
  secretHint:
    'The value comes from standard input, or is asked for: every user of the machine can read a command line.',
  details:
    'Keeps a secret for the next deploys of the program by the account. The value comes from standard input, without its last\n' +
    'line break, or is asked for; never from the command line, which every user of the machine can read. It is kept encrypted\n' +
    "for the account's key, and is sealed for the providers with the next deploy: what runs already has the old one.",
  options: { ...dirOptions, account: accountOptions.account },
  examples: ['secret put API_KEY', 'secret put TLS_KEY --dir hello < key.txt'],
  async run({ positionals: [name = ''], values }, context) {
    assertEnvName(name)
    const project = await readProjectName(values.dir, context)
    const account = await openAccount(values, await findKeysPlace(context), context)
    const value = await readValue(name, context)
    const isReplaced = await putSecret(project, { name, value, account }, context)
    context.print(
      `${isReplaced ? 'Replaced' : 'Kept'} ${name} of ${project} for ${account.address}. The next deploy takes it along.`,
      { project, name, owner: account.address, replaced: isReplaced },
    )
  },
})

async function readValue(name: string, context: CommandContext): Promise<string> {
  const text = context.isInteractive
    ? await context.askSecret(`Value of ${name}`)
    : await context.readStdin(limits.envBytesMax)
  const value = text.replace(/\r?\n$/, '')
  if (value === '') throw usageError(`The value of ${name} is empty.`, 'Pipe it in, or type it.')
  // What does not survive as text would reach the program as something else.
  if (!value.includes('\uFFFD')) return value
  throw new ProtocolError('usage_invalid', `The value of ${name} is not UTF-8.`, {
    hint: 'Encode it first, as Base64 for instance.',
  })
}
