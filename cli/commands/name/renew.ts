import { registryCalls } from '../../../protocol/chain/calls.ts'
import { readExpiry } from '../../../protocol/chain/registry.ts'
import { registrationSeconds } from '../../../provider/register-name.ts'
import { defineCommand } from '../../command.ts'
import { formatTime } from '../../market/escrow.ts'
import { openWriter } from '../../market/open.ts'
import { accountOptions, marketOptions, writeOptions } from '../../market/options.ts'
import { carryOut } from '../../market/write.ts'
import { assertOwner, readName } from '../../names/read-name.ts'

export const nameRenew = defineCommand({
  usage: 'name renew <name>',
  details:
    "Adds a year to a name of yours. Providers that run renew their own; a deployment's name is renewed by this alone. After\n" +
    'its end it resolves for 30 days more, in which it can still be renewed.',
  options: { ...writeOptions, ...accountOptions, ...marketOptions },
  examples: ['name renew thumbs'],
  async run({ positionals: [text = ''], values }, context) {
    const writer = await openWriter(values, context)
    const { registry } = writer.market.contracts
    const record = await readName(text, writer, context)
    const { name } = record
    assertOwner(record, writer.account.address)
    const before = await readExpiry(writer.client, { registry, name }, context.signal)
    const plan = {
      title: `Renew ${name} for a year`,
      lines: [['until now', formatTime(before)]],
      facts: { name, before },
      calls: [registryCalls(registry).renew(name, registrationSeconds)],
    } as const
    const transactions = await carryOut(plan, { writer, flags: values }, context)
    if (!transactions) return
    const expiry = await readExpiry(writer.client, { registry, name }, context.signal)
    context.print(`${name} is yours until ${formatTime(expiry)}.`, { name, expiry, transactions })
  },
})
